"""The web canvas: a tile server over one world a view, and a Gradio page to look at it, steer it and export from it."""
