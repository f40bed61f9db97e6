"""How the embedded model is made: data, styles, autoencoder, denoiser, figures, and the folder that ships."""
