"""CUDA kernels on a real GPU: `pytest -m gpu`. Without one each of these is skipped, and says why.

What can be checked without a GPU is in test_cuda_simulated.py and test_cuda_compiled.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from sepconv_bench import ConvShape, Problem, get_kernel, gpu, kernel_names
from sepconv_bench.model.networks import WHOLE, mobilenet_v1
from sepconv_bench.model.reference import Reference
from sepconv_bench.network.plan import Plan, device
from sepconv_bench.network.reference import probabilities
from sepconv_bench.network.weights import random_weights
from sepconv_bench.results.store import open_results
from sepconv_bench.results.tables import network

REASON = gpu.missing()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=f"CUDA kernels are {REASON}")]
NAMES = [name for name in kernel_names(missing=True) if name.startswith("cuda.")]
TRIES = 60


def drawn_shape(rng: np.random.Generator) -> ConvShape:
    sizes = [1, 2, 3, 5, 8, 16, 17, 31, 32, 33, 64, 96, 130]
    return ConvShape(
        D_K=int(rng.integers(1, 8)),
        M=int(rng.choice(sizes)),
        N=int(rng.choice(sizes)),
        D_G=int(rng.integers(1, 30)),
        stride=int(rng.integers(1, 4)),
        batch=int(rng.integers(1, 5)),
    )


@pytest.mark.parametrize("name", NAMES)
def test_random_shapes_agree_with_the_reference(name):
    kernel, rng = get_kernel(name), np.random.default_rng(0)
    for _ in range(TRIES):
        shape = drawn_shape(rng)
        if kernel.supports(shape) is not None:
            pytest.skip(str(kernel.supports(shape)))
        problem = Problem.draw(kernel.operator, shape, rng)
        launch = kernel.bind(problem)
        launch()
        kernel.unpack(launch(), problem.G)
        error = Reference(kernel.operator, shape, problem.F, problem.weights).error(problem.G) / kernel.rounding(shape)
        assert error <= 1, f"{shape}: {error} times what rounding explains"


@pytest.mark.parametrize("name", [name for name in NAMES if "torch" not in name])
def test_views_of_torch_are_taken_as_they_lie(name):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("this torch does not reach the GPU")
    kernel, shape = get_kernel(name), ConvShape(3, 32, 64, 12, batch=2)
    generator = torch.Generator("cuda").manual_seed(0)
    batch, width, _, M = kernel.operator.F_shape(shape)
    buffer = torch.randn(batch, width + 2, width + 2, M + 4, device="cuda", generator=generator)
    F = buffer[:, 1:-1, 1:-1, 4:]
    weights = [torch.randn(*weight, device="cuda", generator=generator) for weight in kernel.operator.weight_shapes(shape)]
    G = kernel(F, *weights)
    host = [each.cpu().numpy() for each in weights]
    reference = Reference(kernel.operator, shape, F.cpu().numpy(), tuple(host))
    assert reference.error(torch.as_tensor(G, device="cuda").cpu().numpy()) <= kernel.rounding(shape)


def test_a_sweep_measures_ceilings_and_ratios(tmp_path):
    command = [sys.executable, "-m", "sepconv_bench", "run", "--device", "cuda", "--M", "64", "--N", "128", "--D_G", "28"]
    command += ["--time-limit", "1", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    asked = [sys.executable, "-m", "sepconv_bench", "export", str(tmp_path), "--table", "timings", "--format", "json"]
    rows = json.loads(subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True).stdout)
    ours = [row for row in rows if "torch" not in row["kernel"]]
    assert {row["status"] for row in ours} == {"ok"}
    assert all(0 < row["eta"] <= 1.02 for row in ours)


@pytest.mark.parametrize(
    ("alpha", "resolution", "batch", "separable"),
    [(0.25, 128, 1, True), (0.25, 128, 1, False), (0.5, 160, 3, True), (1.0, 224, 1, True)],
)
def test_mobilenet_agrees_with_the_network_in_float64(alpha, resolution, batch, separable):
    layers, rng = mobilenet_v1(alpha, resolution, batch, separable), np.random.default_rng(0)
    weights = random_weights(layers)
    images = rng.uniform(-1, 1, (2, batch, resolution, resolution, 3)).astype(np.float32)
    plan = Plan(layers, weights, device("cuda"))
    given = [plan(image).copy() for image in images]
    for image, found in zip(images, given, strict=True):
        right = np.log(probabilities(layers, weights, image))
        assert np.abs(np.log(found.astype(np.float64)) - right).max() <= 0.01 * right.std()
    free = gpu.free_bytes()
    np.testing.assert_array_equal(plan(images[0]), given[0], "nothing of the image before is left, the halo least of all")
    assert gpu.free_bytes() == free, "a call allocates nothing"


def test_mobilenet_is_timed_beside_torch(tmp_path):
    command = [sys.executable, "-m", "sepconv_bench", "mobilenet", "--device", "cuda", "--alpha", "0.25", "--resolution", "128"]
    command += ["--time-limit", "0.5", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    with open_results(tmp_path) as results:
        found = network(results)
    whole = found[found.part == WHOLE]
    assert {"cuda.separable.plan", "cuda.standard.plan"} <= set(whole.kernel)
    assert set(found[found.variant == "plan"].status) == {"ok"}
    assert set(found.status) <= {"ok", "unsupported"}, found[["part", "kernel", "reason"]].to_string()


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck"])
def test_compute_sanitizer_finds_nothing(tool):
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed")
    code = (
        "import numpy as np\n"
        "from sepconv_bench import ConvShape, Problem, get_kernel\n"
        "for name in ('standard.tiled', 'depthwise.tiled', 'pointwise.tiled', 'separable.fused'):\n"
        "    for shape in (ConvShape(3, 33, 40, 9, stride=2), ConvShape(3, 64, 128, 14)):\n"
        "        kernel = get_kernel(f'cuda.{name}')\n"
        "        problem = Problem.draw(kernel.operator, shape, np.random.default_rng(0))\n"
        "        kernel.unpack(kernel.bind(problem)(), problem.G)\n"
    )
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
