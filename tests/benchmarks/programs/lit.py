"""The ensemble with LitServe, batched: ``python -m tests.benchmarks.programs.lit PORT``; it answers at /predict."""

from __future__ import annotations

import sys

import litserve
import numpy as np

from tests.benchmarks.programs.iris import FEATURES, LABELS, fit


class Ensemble(litserve.LitAPI):
    def setup(self, device):
        self.logistic, self.svm = fit()

    def decode_request(self, request):
        return [request[name] for name in FEATURES]

    def batch(self, inputs):
        return np.array(inputs)

    def predict(self, x):
        return list(zip(self.logistic.predict(x), self.svm.predict(x), strict=True))

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"logistic": LABELS[output[0]], "svm": LABELS[output[1]]}


if __name__ == "__main__":
    api = Ensemble(max_batch_size=64, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(port=int(sys.argv[1]), host="127.0.0.1", log_level="error", generate_client_file=False)
