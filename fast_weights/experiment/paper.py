"""The settings of table 1 of the paper, all in one place.

Ba et al. 2016, arXiv 1610.06258, section 4.1 and appendix A.1. `docs/paper.md` says which of these
the paper states and which were chosen here.
"""

# The defaults of `Config` with `network="paper"`, where they differ from the blog's.
SETTINGS = {
    "network": "paper",
    "num_epochs": 192,
    "decay_rate": 0.9,
    "recurrence": "paper",
    "learning_rate": 1e-3,
    "learning_rate_schedule": "cosine",
    "warmup_steps": 2000,
    "num_pairs": 4,
    "num_training": 100_000,
    "num_validation": 10_000,
    "num_test": 20_000,
    "shuffle": True,
}
# The sizes of the layers around the recurrent layer.
EMBEDDING_SIZE = 50
EMBEDDING_STDDEV = 0.5
NUM_RELUS = 100
# In IRNN, W_h starts as this multiple of the identity.
IRNN_GAIN = 0.5
# Of A-LSTM.
NUM_COPIES = 4
NUM_HEADS = 3

# The cells of the table, and the test errors of the paper in percent, by the number of units R.
UNITS = (20, 50, 100)
PUBLISHED_ERRORS = {
    "IRNN": (62.11, 60.23, 0.34),
    "LSTM": (60.81, 1.85, 0),
    "A-LSTM": (60.13, 1.62, 0),
    "RNN-LN-FW": (1.81, 0, 0),
}
# The paper tunes the learning rate of each network. Here, these rates are tried with 50 units.
LEARNING_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
BEST_LEARNING_RATES = {"IRNN": 2e-3, "LSTM": 4e-3, "A-LSTM": 2e-3, "RNN-LN-FW": 1e-3}
# By the number of units. A large network learns in fewer updates, and each update takes longer.
NUM_EPOCHS = {20: 192, 50: 96, 100: 48}
# An update of A-LSTM takes about five times as long as one of LSTM.
A_LSTM_NUM_EPOCHS = {20: 24, 50: 12, 100: 8}
