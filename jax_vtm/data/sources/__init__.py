"""Where videos come from: one `VideoSource` per file."""
