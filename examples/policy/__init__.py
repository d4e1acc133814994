"""What `examples.orchestrator` runs: a plan as a PDF, nine stages over its text, 300 questions."""
