"""The demonstration: the main job on real input, told in plain lines, judged by what the upstream wrote down."""
