"""The demonstration: the main job on real input, shown in plain lines, checked against what the upstream recorded."""
