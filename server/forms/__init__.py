"""The forms of API in which a chat can be asked for. Each is read into a chat completion, which takes the one way of
`server.serving` (limits, steering, record), and the engine's answer is written back in the form's own words."""
