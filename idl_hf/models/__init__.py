"""Whatever answers: models and adapters, their replies and their likelihoods."""
