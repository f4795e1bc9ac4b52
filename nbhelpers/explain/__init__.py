"""Where networks look, and whether these pictures can be trusted."""
