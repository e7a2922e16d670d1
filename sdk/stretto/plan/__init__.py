"""What a composition is once it is built."""
