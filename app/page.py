"""The page: Gradio 6 around the canvases of `static/`, with forms for what is asked and events both ways."""

from __future__ import annotations

import gradio as gr
from fastapi import FastAPI

from earthgen.app import forms
from earthgen.app.engine import STATIC, Engine
from earthgen.app.tabs.change import change
from earthgen.app.tabs.dataset import dataset
from earthgen.app.tabs.explore import explore
from earthgen.app.tabs.generate import generate
from earthgen.app.tabs.refine import refine

_HEAD = """<link rel="stylesheet" href="canvas/leaflet.css"><link rel="icon" href="data:,">
<script src="canvas.js"></script>"""
_TABS = {
    "Explore": explore,
    "Generate": generate,
    "Super-resolve": refine,
    "Change": change,
    "Data set": dataset,
}


def mount(app: FastAPI, engine: Engine) -> FastAPI:
    """Put the page at the root of an application."""
    blocks = build(engine)
    blocks.queue(max_size=64, default_concurrency_limit=8)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        show_error=True,
        enable_monitoring=False,
        pwa=False,
        theme=forms.theme(),
        head=_HEAD,
        css_paths=[STATIC / "style.css"],
        mcp_server=False,
    )


def build(engine: Engine) -> gr.Blocks:
    """The page of a server."""
    with gr.Blocks(title="earthgen", analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            '<div class="eg-title"><h1>earthgen</h1>'
            "<span>an unbounded generated Earth. Every image is synthetic.</span></div>",
            apply_default_css=False,
        )
        started = gr.Textbox(visible=False)
        with gr.Tabs():
            for name, tab in _TABS.items():
                with gr.Tab(name, id=tab.__name__, render_children=True):
                    tab(engine, started)
        jobs = gr.HTML(
            None,
            html_template='<section class="eg-jobs eg-none"><h2>Your work</h2><ul></ul></section>',
            js_on_load=forms.script("jobs"),
            apply_default_css=False,
        )
        started.change(lambda name: name, started, jobs, **forms.PRIVATE)
    return blocks
