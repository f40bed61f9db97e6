"""Real-time image generation: a camera, a drawing or a video in, pictures that follow a prompt out."""
