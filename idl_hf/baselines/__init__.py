"""Other systems of the paper's Table 1, small and written anew: each a model of its own behind the `Responder`."""
