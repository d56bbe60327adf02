"""The chat page and the page about the training: a Gradio application that is an ordinary client of the gateway."""
