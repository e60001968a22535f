"""What the Space shows, without Gradio: its texts, its pieces of HTML, its live captions."""
