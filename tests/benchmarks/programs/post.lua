-- The request for wrk, and what it measured as one line of JSON: counts, and times in microseconds.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = os.getenv("BODY")

function done(summary, latency)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '{"requests": %d, "refused": %d, "lost": %d, "duration": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.errors.status, lost, summary.duration, latency:percentile(50), latency:percentile(99)
  ))
end
