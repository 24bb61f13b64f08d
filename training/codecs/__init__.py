"""Making NAVA-mini's codecs: video VAE, audio VAE with vocoder, speaker encoder; each in its released layout."""
