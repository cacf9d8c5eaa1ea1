"""The authors' trained baselines for simulation pair 1, read from the folder that OFFPRINT_GOLDEN names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from offprint.mgrn import (
    ChannelwiseParams,
    GRUParams,
    LSTMParams,
    channelwise_apply,
    from_torch,
    gru_apply,
    lstm_apply,
)

APPLY = {LSTMParams: lstm_apply, GRUParams: gru_apply, ChannelwiseParams: channelwise_apply}
MODELS = ["LSTM", "GRU", "ChannelwiseLSTM_two_groups", "ChannelwiseLSTM_total_split_sizeof_2"]


@pytest.mark.parametrize("model", MODELS)
def test_published_weights_predict_the_published_values(model, pretrained, weights):
    arrays = pretrained(f"pair01_{model}")
    params, head = from_torch(weights(arrays))
    assert head is not None
    x = jnp.asarray(arrays["test_inputs_first_512"]).swapaxes(0, 1)
    predictions = (jax.jit(APPLY[type(params)])(params, x) @ head.weight + head.bias)[:, 0]
    np.testing.assert_allclose(predictions, arrays["test_predictions_first_512"], rtol=0, atol=2e-4)
