"""Evaluation of an answering model: five dimensions with weights, a release gate, and what supports each figure."""
