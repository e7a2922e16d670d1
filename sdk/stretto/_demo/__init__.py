"""What `stretto demo` runs: the Ray Serve tutorial on this machine, with a comparison of three ways to run it."""
