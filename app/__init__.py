"""The web canvas: a tile server over one world a view, and a Gradio page to look at it, steer it and export from it."""

import os

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # nothing leaves the machine; read when gradio is imported
