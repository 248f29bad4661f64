"""Which tiles and panels each thread computes, and in which order: the cuts of blocking.py, as compiled code walks them."""

from __future__ import annotations

from typing import NamedTuple

from numba import njit

from sepconv_bench.kernels.cpu.blocking import BAND_ROWS, Blocks, Cut


class Shares(NamedTuple):
    """How the work is cut, as compiled code sees it: see Blocks."""

    tiles: int  # in a row
    wide_tiles: int
    band_rows: int
    bands: int  # of rows, in an image
    high_bands: int
    panels: int
    wide_panels: int
    tile_threads: int
    panel_threads: int
    depth: int  # input channels in one block of weights
    tiles_block: int  # tiles that go through a block of weights together
    streams: bool  # no cache holds the weights: the next block is fetched while this one is in use


class Position(NamedTuple):
    """Of a tile: its image, its band of rows, its row, and its column, counted in tiles."""

    b: int
    band: int
    k: int
    c: int


def shares_of(
    blocks: Blocks, rows: int, depth: int = 1, tiles_block: int = 1, streams: bool = False, band: int = BAND_ROWS
) -> Shares:
    pixels, vectors, bands = blocks.pixels, blocks.vectors, Cut.balanced(rows, band)
    cut = (pixels.parts, pixels.longer, bands.most, bands.parts, bands.longer, vectors.parts, vectors.longer)
    return Shares(*cut, blocks.tile_threads, blocks.panel_threads, depth, tiles_block, streams)


@njit(error_model="numpy", inline="always")
def share_of(thread, sizes, shares):
    """First tile and the one after the last, first panel and the one after the last, of a thread."""
    t, p = thread // shares.panel_threads, thread % shares.panel_threads
    tiles = sizes.batch * sizes.rows * shares.tiles
    return (
        (tiles * t // shares.tile_threads, tiles * (t + 1) // shares.tile_threads),
        (shares.panels * p // shares.panel_threads, shares.panels * (p + 1) // shares.panel_threads),
    )


@njit(error_model="numpy", inline="always")
def tile_at(u, sizes, shares):
    """Position of tile u. Tiles are counted band by band, and down each column of a band: their rows of F continue those of
    the tiles before, which is what the memory's own look-ahead waits for."""
    in_image = sizes.rows * shares.tiles
    b, u = u // in_image, u % in_image
    band = u // (shares.band_rows * shares.tiles)
    height = shares.band_rows
    if band >= shares.high_bands:
        u -= shares.high_bands * height * shares.tiles
        height -= 1
        band = shares.high_bands + u // (height * shares.tiles)
    u %= height * shares.tiles
    return Position(b, band, first_row(band, shares) + u % height, u // height)


@njit(error_model="numpy", inline="always")
def next_tile(at, rows, sizes, shares):
    """The tile `rows` further, in its column or at the top of the next: additions, where tile_at divides."""
    b, band, k, c = at.b, at.band, at.k + rows, at.c
    if k == first_row(band + 1, shares):
        c += 1
        if c == shares.tiles:
            c = 0
            band += 1
            if band == shares.bands:
                band = 0
                b += 1
        k = first_row(band, shares)
    return Position(b, band, k, c)


@njit(error_model="numpy", inline="always")
def first_row(band, shares):
    """Where a band starts: those after the high ones are one row lower each."""
    return band * shares.band_rows - max(0, band - shares.high_bands)


@njit(error_model="numpy", inline="always")
def rows_below(at, shares):
    """Rows of the tile's band from the tile on."""
    return first_row(at.band + 1, shares) - at.k


@njit(error_model="numpy", inline="always")
def first_pixel(at, shares, MR):
    """Where in its row a tile starts: those after the wide ones are MR - 1 pixels each."""
    return at.c * MR - max(0, at.c - shares.wide_tiles)
