"""The Ray Serve tutorial, and the program that `stretto demo` makes of it."""
