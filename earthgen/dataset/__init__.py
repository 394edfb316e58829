"""Labelled data sets made by the engine: drawn, generated, filtered, exported and put to the proof."""
