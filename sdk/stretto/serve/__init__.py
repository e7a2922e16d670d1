"""All that imports Ray: pipelines on Ray Serve."""
