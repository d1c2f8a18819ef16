from jax_vtm.checkpoints.train_state import _rename_pre_linen as rename_pre_linen


def test_shared_counter_becomes_one_per_class():
    block = {
        "LayerNorm_0": 1,
        "MultiHeadDotProductAttention_1": 2,
        "LayerNorm_2": 3,
        "MlpBlock_3": {"Dense_0": 4},
    }
    assert rename_pre_linen({"Transformer": {"encoderblock_0": block}}) == {
        "Transformer": {
            "encoderblock_0": {
                "LayerNorm_0": 1,
                "MultiHeadDotProductAttention_0": 2,
                "LayerNorm_1": 3,
                "MlpBlock_0": {"Dense_0": 4},
            }
        }
    }


def test_numbers_are_ordered_as_numbers():
    renamed = rename_pre_linen({"Dense_10": "b", "Conv_3": "c", "Dense_2": "a"})
    assert renamed == {"Dense_0": "a", "Conv_0": "c", "Dense_1": "b"}


def test_linen_names_stay():
    tree = {
        "LayerNorm_0": 1,
        "MultiHeadDotProductAttention_0": 2,
        "LayerNorm_1": 3,
        "MlpBlock_0": {"Dense_1": 4},
    }
    tree["MlpBlock_0"]["Dense_0"] = 5
    assert rename_pre_linen(tree) == tree


def test_names_that_a_person_chose_stay():
    tree = {"encoderblock_0": 1, "encoderblock_2": 2, "cls": 3, "LayerNorm_time": 4}
    assert rename_pre_linen(tree) == tree
