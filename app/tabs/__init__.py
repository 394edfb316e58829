"""The tabs of the page, one a module: a form, what becomes of it, and its function for gradio's clients."""
