import io

import numpy as np
import pytest
from PIL import Image

from jax_vtm.visualization.gif import gif


@pytest.mark.parametrize(("fps", "milliseconds"), [(8.0, 120), (2.0, 500), (100.0, 20)])
def test_frames_come_back_in_order_at_their_pace_for_ever(fps, milliseconds):
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (3, 6, 8, 3)).copy()
    with Image.open(io.BytesIO(gif(frames, fps))) as image:
        assert (image.n_frames, image.size, image.info["loop"]) == (3, (8, 6), 0)
        for index, frame in enumerate(frames):
            image.seek(index)
            assert image.info["duration"] == milliseconds
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frame)
