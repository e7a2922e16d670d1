"""What `stretto demo` shows: the Ray Serve tutorial from training to three ways of asking, on this machine."""
