import numpy as np

from jax_vtm.visualization.clip_files import INK, TEXT_HEIGHT, side_by_side, with_label

IMAGES = np.random.default_rng(0).integers(256, size=(3, 10, 60, 3)).astype(np.uint8)


def is_ink(strip: np.ndarray) -> np.ndarray:
    return (np.abs(strip.astype(int) - INK).max(axis=-1) < 60).any(axis=0)


def test_text_stands_above_and_pixels_stay():
    labelled = with_label(IMAGES, "input")
    assert labelled.shape == (3, 10 + TEXT_HEIGHT, 60, 3)
    np.testing.assert_array_equal(labelled[:, TEXT_HEIGHT:], IMAGES)
    assert is_ink(labelled[0, :TEXT_HEIGHT]).any()
    assert not np.array_equal(with_label(IMAGES, "other")[0], labelled[0])


def test_text_wider_than_the_picture_is_cut_and_none_is_no_error():
    long = with_label(IMAGES, "a text that is far wider than sixty pixels")
    assert not is_ink(long[0, :TEXT_HEIGHT])[-1]
    assert long.shape[2] == 60
    assert with_label(IMAGES[:, :, :3], "a text").shape[2] == 3


def test_videos_go_side_by_side_frame_by_frame_in_even_sizes():
    video = side_by_side([("a", IMAGES[:, :9]), ("b", 255 - IMAGES[:, :9]), ("c", IMAGES[:, :9])], scale=1, columns=2)
    assert video.shape[0] == 3
    assert video.shape[1] % 2 == video.shape[2] % 2 == 0
    for frame, image in zip(video, IMAGES[:, :9], strict=True):
        np.testing.assert_array_equal(frame[TEXT_HEIGHT : TEXT_HEIGHT + 9, :60], image)
        np.testing.assert_array_equal(frame[TEXT_HEIGHT : TEXT_HEIGHT + 9, 62:122], 255 - image)
