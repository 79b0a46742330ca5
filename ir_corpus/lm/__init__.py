"""Language models on source paired with compiler IR: tokenizers, mixtures, training, honest evaluation."""
