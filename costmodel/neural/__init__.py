"""Neural cost models that read the text: bag, LSTM, stacked Conv1D (arXiv 2302.11405), transformer and graph."""
