"""What a disguise is worth at the gate: `python -m benchmarks.disguise`. The drawings are no training's."""
