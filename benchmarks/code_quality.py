from importlib.util import find_spec


class InnerLoop:
    """What did the compiler make of the innermost loops? Counted in the assembly: the same on every run."""

    params = (["product", "depthwise 3 x 3"],)
    param_names = ("tile",)

    def setup(self, tile):
        try:
            from sepconv_bench.kernels.cpu.assembly import product_loop, roll_loop
            from sepconv_bench.kernels.cpu.registers import Tile, host_vectors
        except ImportError as error:
            raise NotImplementedError("this commit has no register tiles, or others") from error
        vectors = host_vectors()
        if tile == "product":
            self.loop = product_loop(Tile(vectors.max_pixels(2), 2, vectors.lanes))
        else:
            self.loop = roll_loop(Tile(max(vectors.max_rolled_pixels(3), 1), 1, vectors.lanes))

    def track_instructions_per_multiply_add(self, tile):
        code = [line for line in self.loop.lines if line.startswith("\t") and not line.lstrip().startswith(".")]
        return len(code) / self.loop.multiply_adds

    def track_loads_per_multiply_add(self, tile):
        return self.loop.loads / self.loop.multiply_adds

    def track_spills(self, tile):
        return self.loop.spills

    track_instructions_per_multiply_add.unit = "instructions"
    track_instructions_per_multiply_add.version = "1"
    track_loads_per_multiply_add.unit = "loads"
    track_loads_per_multiply_add.version = "1"
    track_spills.unit = "vectors on the stack"
    track_spills.version = "1"


# Only where the extra cuda-compile is installed; it needs no GPU.
if find_spec("numba_cuda") and find_spec("nvidia"):

    class GpuCode:
        """What does the compiler make of the GPU's kernels? For Hopper, whatever is here: the same on every run."""

        params = (["cuda.standard.tiled", "cuda.separable.fused"],)
        param_names = ("kernel",)

        def setup(self, kernel):
            try:
                from sepconv_bench import get_kernel
                from sepconv_bench.kernels.cuda.machine_code import compiled, passes
                from sepconv_bench.model.shapes import ConvShape
            except ImportError as error:
                raise NotImplementedError("this commit has no CUDA kernels") from error
            self.code = compiled(passes(get_kernel(kernel).declaration, ConvShape(3, 64, 128, 56, batch=8))[0])

        def track_registers(self, kernel):
            return self.code.registers

        track_registers.unit = "registers of a thread"
        track_registers.version = "1"
