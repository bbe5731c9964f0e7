# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""A textured room and the camera that looks at it: exact pinhole images, depth and nothing else.

The room is a list of rectangles. Along a ray d = (x, y, 1) of the camera, the inverse depth of a
plane is a linear function of (x, y), and so are the texture coordinates times the inverse depth:
each rectangle costs three linear forms a pixel, and the nearest one wins. Textures live in one
atlas with its mip levels below each other, so that one `cv2.remap` shades all rectangles at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from superpoint_ros.config import Config, ConfigError, option
from superpoint_ros.data import Array
from superpoint_ros.evaluation.textures import make_texture
from superpoint_ros.geometry.camera import Camera
from superpoint_ros.geometry.se3 import inverse

_LEVELS = 6  # mip levels: a texel of the last is 32 texels of the first
_MARGIN = 2 ** (_LEVELS - 1)  # texels of texture beyond each edge of a rectangle, one at the end
_MAX_ATLAS = 32000  # cv2.remap addresses its source with 16 bits
_ATLAS_WIDTH = 4096
_NEAR_M = 0.02
_BAND_ROWS = 96  # rows worked on at once: their arrays stay in the cache
_WALL_AHEAD = 3  # of `_box_faces`: the one at high y
_SEAM_M = 1e-4  # rectangles overlap by this, or rounding would leave cracks
# Where a pixel is sampled: the centres of its quarters. Sample k of a moving camera takes
# offset k % 4.
_OFFSETS = ((-0.25, -0.25), (0.25, 0.25), (0.25, -0.25), (-0.25, 0.25))


@dataclass(frozen=True)
class SceneConfig(Config):
    """The room that is rendered."""

    seed: int = option(0, "Names the room: same seed, same pixels", minimum=0)
    shape: str = option(
        "room",
        "room: walls, floor, ceiling and boxes; plane: one wall and nothing else, which the "
        "trajectory sweep looks at",
        choices=("room", "plane"),
    )
    room_m: tuple[float, ...] = option(
        (8.0, 6.0, 3.0), "Length (x), width (y) and height (z) of the room, metres", minimum=2.5
    )
    boxes: int = option(26, "Boxes that stand on the floor or hang from the ceiling", minimum=0)
    moving_boxes: int = option(0, "Boxes among them that slide to and fro", minimum=0)
    texels_per_metre: float = option(
        256.0, "Resolution of the textures", minimum=16.0, maximum=1024.0
    )


@dataclass(frozen=True)
class Quad:
    """One textured rectangle, seen from the side that `axis_u x axis_v` points to.

    Attributes:
        origin: (3,) corner, metres, world frame.
        axis_u: (3,) unit vector of the texture's x.
        axis_v: (3,) unit vector of the texture's y, at right angles to `axis_u`.
        size_m: (width, height), metres.
        sway: (3,) amplitude of the motion, metres; zero for what stands still.
        sway_rate: Angular rate of the motion, rad/s.
    """

    origin: Array
    axis_u: Array
    axis_v: Array
    size_m: tuple[float, float]
    sway: Array = field(default_factory=lambda: np.zeros(3))
    sway_rate: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Rectangles and their textures.

    Attributes:
        quads: The rectangles.
        atlas: (H, W) uint8, all textures, mip level below mip level.
        normals: (Q, 3) unit vectors towards the visible side, world frame.
        texture_origin: (Q, 2) where each rectangle's (0, 0) lies in level 0, texels.
        texels_per_metre: Resolution of level 0.
        level_rows: (levels,) first row of each mip level in the atlas.
    """

    quads: tuple[Quad, ...]
    atlas: Array
    normals: Array
    texture_origin: Array
    texels_per_metre: float
    level_rows: Array


@dataclass(frozen=True)
class Hits:
    """What the rays met; one entry a pixel.

    Attributes:
        inverse_depth: (H, W) float32, 1 / metres along the optical axis; 0 where nothing is.
        texture_x: (H, W) float32, texels of level 0 in the atlas, texel edges at integers.
        texture_y: (H, W) float32.
        quad: (H, W) uint8, index of the rectangle.
    """

    inverse_depth: Array
    texture_x: Array
    texture_y: Array
    quad: Array


def make_room(config: SceneConfig) -> Scene:
    """Build a room with boxes, or its wall at high y alone.

    The floor's centre is the world's origin, z points up.

    A ring of clear space around the centre is left for the camera, see `synthetic.camera_pose`.

    Raises:
        ConfigError: The textures would be too large.
    """
    if len(config.room_m) != 3:
        raise ConfigError(f"room_m: expected 3 numbers (x, y, z), got {len(config.room_m)}")
    rng = np.random.default_rng(config.seed)
    length, width, height = config.room_m
    if config.shape == "plane":
        corner = np.array([length, width / 2, 2.0 * height])  # no edge of it comes into view
        wall = _box_faces(corner * [-1.0, -1.0, -0.5], corner, inward=True)[_WALL_AHEAD]
        return build_scene([wall], config.texels_per_metre, rng)
    low = np.array([-length / 2, -width / 2, 0.0])
    quads = _box_faces(low, -low + [0.0, 0.0, height], inward=True)
    for index in range(config.boxes):
        low, high = _place_box(config.room_m, rng)
        is_moving = index < config.moving_boxes
        sway = rng.uniform(-0.5, 0.5, 3) * [1.0, 1.0, 0.0] if is_moving else np.zeros(3)
        sway_rate = float(rng.uniform(0.5, 1.5))
        quads += _box_faces(low, high, sway=sway, sway_rate=sway_rate)
    return build_scene(quads, config.texels_per_metre, rng)


def build_scene(
    quads: Sequence[Quad],
    texels_per_metre: float,
    rng: np.random.Generator,
    textures: Sequence[Array] | None = None,
) -> Scene:
    """Give rectangles their textures and pack these into one atlas.

    Args:
        quads: At most 255 rectangles.
        texels_per_metre: Resolution.
        rng: Source of the textures.
        textures: One (H, W) uint8 each, of the rectangle's size in texels with a margin of 32
            texels on every side; None draws them.

    Raises:
        ConfigError: Too many rectangles, or the textures do not fit.
    """
    if len(quads) > 255:
        raise ConfigError(f"boxes: {len(quads)} rectangles are too many, at most 255")
    if textures is None:
        textures = [_draw_texture(quad, texels_per_metre, rng) for quad in quads]
    aligned = [-(-np.array(t.shape) // _MARGIN) * _MARGIN for t in textures]
    widest = max(int(size[1]) for size in aligned)
    atlas_width = max(_ATLAS_WIDTH, widest)
    corners = np.zeros((len(quads), 2), np.int64)
    x = y = shelf = 0
    for index in sorted(range(len(quads)), key=lambda i: -int(aligned[i][0])):
        rows, columns = (int(v) for v in aligned[index])
        if x + columns > atlas_width:
            x, y, shelf = 0, y + shelf, 0
        corners[index] = x, y
        x, shelf = x + columns, max(shelf, rows)
    atlas_height = y + shelf
    if 2 * atlas_height > _MAX_ATLAS or atlas_width > _MAX_ATLAS:
        raise ConfigError(
            f"texels_per_metre: {texels_per_metre:g} needs textures of {atlas_width} x "
            f"{2 * atlas_height} texels, at most {_MAX_ATLAS} each way; lower it or shrink room_m"
        )
    level = np.full((atlas_height, atlas_width), 128, np.uint8)
    for (x, y), texture in zip(corners, textures, strict=True):
        level[y : y + texture.shape[0], x : x + texture.shape[1]] = texture
    levels = [level]
    for _ in range(1, _LEVELS):
        half = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
        levels.append(cv2.resize(levels[-1], half, interpolation=cv2.INTER_AREA))
    padded = [np.pad(v, ((0, 0), (0, atlas_width - v.shape[1])), mode="edge") for v in levels]
    level_rows = np.cumsum([0] + [len(v) for v in levels[:-1]])
    return Scene(
        quads=tuple(quads),
        atlas=np.concatenate(padded),
        normals=np.stack([np.cross(quad.axis_u, quad.axis_v) for quad in quads]),
        texture_origin=corners.astype(np.float64) + _MARGIN,
        texels_per_metre=texels_per_metre,
        level_rows=level_rows.astype(np.float32),
    )


def texture_size(size_m: tuple[float, float], texels_per_metre: float) -> tuple[int, int]:
    """Return (height, width) of the texture of a rectangle of (width, height) metres, texels."""
    width, height = (int(np.ceil(s * texels_per_metre)) + 2 * _MARGIN for s in size_m)
    return height, width


def _draw_texture(quad: Quad, texels_per_metre: float, rng: np.random.Generator) -> Array:
    texture = make_texture(texture_size(quad.size_m, texels_per_metre), texels_per_metre, rng)
    normal = np.cross(quad.axis_u, quad.axis_v)
    lamp = 0.78 + 0.22 * float(normal @ np.array([0.36, 0.48, 0.8]))
    return np.clip(texture * lamp, 0, 255).astype(np.uint8)


def _box_faces(
    low: Array,
    high: Array,
    inward: bool = False,
    sway: Array | None = None,
    sway_rate: float = 0.0,
) -> list[Quad]:
    """Return the six faces of an upright box, to be seen from outside (or from inside)."""
    size = np.asarray(high) - low
    faces = []
    for axis in range(3):
        # The texture's y points down on walls, so that writing stands upright.
        v_axis = 2 if axis < 2 else 1
        u_axis = 3 - axis - v_axis
        for is_high in (False, True):
            normal = np.zeros(3)
            normal[axis] = 1.0 if is_high != inward else -1.0
            axis_v = np.zeros(3)
            axis_v[v_axis] = -1.0
            axis_u = np.cross(axis_v, normal)
            origin = np.where(axis_u + axis_v < 0.0, high, low)
            origin[axis] = high[axis] if is_high else low[axis]
            faces.append(
                Quad(
                    origin=origin.astype(np.float64),
                    axis_u=axis_u,
                    axis_v=axis_v,
                    size_m=(float(size[u_axis]), float(size[v_axis])),
                    sway=np.zeros(3) if sway is None else sway,
                    sway_rate=sway_rate,
                )
            )
    return faces


def _place_box(room_m: tuple[float, ...], rng: np.random.Generator) -> tuple[Array, Array]:
    """Choose a box between the camera's ring and the walls, or a low one in the middle."""
    length, width, height = room_m
    while True:
        size = rng.uniform([0.25, 0.25, 0.3], [0.9, 0.9, 1.6])
        centre = rng.uniform([-0.5, -0.5], [0.5, 0.5]) * [length, width]
        radius = np.hypot(centre[0] / (0.32 * length), centre[1] / (0.32 * width))
        half = size[:2] / 2
        if np.any(np.abs(centre) + half > np.array([length, width]) / 2 - 0.02):
            continue
        if radius < 1.0:
            # The camera passes above: keep it below the knee.
            size[2] = min(size[2], 0.2 * height)
        is_hanging = radius >= 1.0 and rng.random() < 0.3
        bottom = height - size[2] if is_hanging else 0.0
        low = np.array([*(centre - half), bottom])
        return low, low + size


class Renderer:
    """Images and depth of a scene through one camera.

    Args:
        scene: What there is to see.
        camera: Intrinsics and distortion; its `image_size_hw` is the size of the images.

    Raises:
        ValueError: The camera does not say its image size.
    """

    def __init__(self, scene: Scene, camera: Camera) -> None:
        height, width = camera.image_size_hw
        if height <= 0 or width <= 0:
            raise ValueError("the camera has no image size")
        self.scene = scene
        self.camera = camera
        self._grids = [_Rays(camera, offset) for offset in _OFFSETS]
        self._centre_grid = _Rays(camera, (0.0, 0.0))

    def render(
        self, poses: Sequence[Array], time_s: float = 0.0, rows: slice | None = None
    ) -> Array:
        """Render one image, or some rows of it.

        Args:
            poses: T_world_cam (4, 4) at moments spread over the exposure: the image is their
                mean. One pose is a camera that holds still; a multiple of 4 keeps edges smooth.
            time_s: Time, which places the moving boxes.
            rows: Of the image, start and stop; None: all.

        Returns:
            (H, W) float32, grey levels 0 to 255, linear in the light.
        """
        samples = [poses[0]] * len(_OFFSETS) if len(poses) == 1 else list(poses)
        rows = rows or slice(0, self.image_size_hw[0])
        total = np.zeros((rows.stop - rows.start, self.image_size_hw[1]), np.float32)
        view = _View(self.scene, samples[0], time_s, self.camera)
        for index, T_world_cam in enumerate(samples):
            if index and T_world_cam is not samples[index - 1]:
                view = _View(self.scene, T_world_cam, time_s, self.camera)
            grid = self._grids[index % len(_OFFSETS)]
            windows = view.windows(grid)
            for band in _bands(rows):
                there = slice(band.start - rows.start, band.stop - rows.start)
                total[there] += view.shade(view.cast(grid, band, windows))
        total /= np.float32(len(samples))
        return total

    def cast(self, T_world_cam: Array, time_s: float = 0.0, rows: slice | None = None) -> Hits:
        """Return what the pixel centres see, of all rows or of some."""
        view = _View(self.scene, T_world_cam, time_s, self.camera)
        windows = view.windows(self._centre_grid)
        rows = rows or slice(0, self.image_size_hw[0])
        bands = [view.cast(self._centre_grid, band, windows) for band in _bands(rows)]
        return Hits(
            *(
                np.concatenate([getattr(band, name) for band in bands])
                for name in ("inverse_depth", "texture_x", "texture_y", "quad")
            )
        )

    def render_depth(
        self, T_world_cam: Array, time_s: float = 0.0, rows: slice | None = None
    ) -> Array:
        """Return the depth of the pixel centres, (H, W) float32, metres, NaN where nothing is."""
        inverse_depth = self.cast(T_world_cam, time_s, rows).inverse_depth
        with np.errstate(divide="ignore"):
            depth = np.float32(1.0) / inverse_depth
        depth[inverse_depth <= 0.0] = np.nan
        return np.asarray(depth)

    @property
    def image_size_hw(self) -> tuple[int, int]:
        """(height, width) of the images, pixels."""
        return self.camera.image_size_hw


class _Rays:
    """Ray directions (x, y, 1) of a camera's pixels, moved by an offset in pixels."""

    def __init__(self, camera: Camera, offset: tuple[float, float]) -> None:
        height, width = camera.image_size_hw
        K = camera.K
        columns = np.arange(width) + offset[0]
        rows = np.arange(height) + offset[1]
        if camera.distortion.size:
            grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
            pixels = camera.undistort(grid).reshape(height, width, 2)
            y = (pixels[..., 1] - K[1, 2]) / K[1, 1]
            x = (pixels[..., 0] - K[0, 2] - K[0, 1] * y) / K[0, 0]
        else:  # rows and columns are enough: broadcasting does the rest
            x = ((columns - K[0, 2]) / K[0, 0])[None]
            y = ((rows - K[1, 2]) / K[1, 1])[:, None]
        self.x: Array = x.astype(np.float32)
        self.y: Array = y.astype(np.float32)
        self._column_range = np.nanmin(x, axis=0), np.nanmax(x, axis=0)
        self._row_range = np.nanmin(y, axis=1), np.nanmax(y, axis=1)

    def window(self, low: Array, high: Array) -> tuple[slice, slice]:
        """Return the rows and columns whose rays may fall between two corners (x, y)."""
        columns = np.flatnonzero(
            (self._column_range[1] >= low[0]) & (self._column_range[0] <= high[0])
        )
        rows = np.flatnonzero((self._row_range[1] >= low[1]) & (self._row_range[0] <= high[1]))
        if not len(columns) or not len(rows):
            return slice(0, 0), slice(0, 0)
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def at(self, rows: slice, columns: slice) -> tuple[Array, Array]:
        """Return x and y of a window; without distortion they broadcast."""
        x = self.x[:, columns] if len(self.x) == 1 else self.x[rows, columns]
        y = self.y[rows] if self.y.shape[1] == 1 else self.y[rows, columns]
        return x, y


class _View:
    """The rectangles in front of one camera pose, as linear forms of the ray."""

    def __init__(self, scene: Scene, T_world_cam: Array, time_s: float, camera: Camera) -> None:
        self._scene = scene
        self._diagonal = np.zeros(len(scene.quads), np.float32)
        self._faces: list[tuple[int, Array, Array, Array]] = []
        T_cam_world = inverse(T_world_cam)
        R, position = T_cam_world[:3, :3], T_world_cam[:3, 3]
        scale = scene.texels_per_metre
        pixel_area = 1.0 / (4.0 * camera.K[0, 0] * camera.K[1, 1])  # of one sample of four
        for index, quad in enumerate(scene.quads):
            origin = quad.origin + quad.sway * np.sin(quad.sway_rate * time_s)
            normal = scene.normals[index]
            distance = float(normal @ (position - origin))
            if distance <= 1e-6:
                continue
            corners = origin + np.array(
                [
                    np.zeros(3),
                    quad.axis_u * quad.size_m[0],
                    quad.axis_u * quad.size_m[0] + quad.axis_v * quad.size_m[1],
                    quad.axis_v * quad.size_m[1],
                ]
            )
            outline = _clip_near(corners @ R.T + T_cam_world[:3, 3])
            if not len(outline):
                continue
            inverse_depth = -(R @ normal) / distance
            x0, y0 = scene.texture_origin[index]
            forms = np.stack(
                [
                    inverse_depth,
                    (x0 + scale * float(quad.axis_u @ (position - origin))) * inverse_depth
                    + scale * (R @ quad.axis_u),
                    (y0 + scale * float(quad.axis_v @ (position - origin))) * inverse_depth
                    + scale * (R @ quad.axis_v),
                ]
            )
            # |d(texel) / d(ray)| is det(forms) * depth^3: half its logarithm chooses the level.
            footprint = abs(np.linalg.det(forms)) * pixel_area
            self._diagonal[index] = 0.5 * np.log2(max(footprint, 1e-12))
            seam = _SEAM_M * scale
            extent = scale * np.array(quad.size_m) + seam
            bounds = np.array([x0 - seam, x0 + extent[0], y0 - seam, y0 + extent[1]])
            self._faces.append((index, forms.astype(np.float32), bounds, outline))

    def windows(self, grid: _Rays) -> list[tuple[slice, slice]]:
        """Return the rows and columns in which each visible rectangle may appear."""
        return [grid.window(o.min(axis=0) - 1e-5, o.max(axis=0) + 1e-5) for *_, o in self._faces]

    def cast(self, grid: _Rays, rows: slice, windows: list[tuple[slice, slice]]) -> Hits:
        """Find the nearest rectangle of every ray of some rows."""
        width = max(grid.x.shape[1], grid.y.shape[1])
        shape = (rows.stop - rows.start, width)
        nearest = np.zeros(shape, np.float32)
        texture_x = np.zeros(shape, np.float32)
        texture_y = np.zeros(shape, np.float32)
        quad_index = np.zeros(shape, np.uint8)
        for (index, forms, bounds, _), (tall, columns) in zip(self._faces, windows, strict=True):
            top, bottom = max(tall.start, rows.start), min(tall.stop, rows.stop)
            if top >= bottom or columns.start >= columns.stop:
                continue
            x, y = grid.at(slice(top, bottom), columns)
            inverse_depth, across, down = (f[0] * x + (f[1] * y + f[2]) for f in forms)
            there = slice(top - rows.start, bottom - rows.start), columns
            low_x, high_x, low_y, high_y = (np.float32(v) for v in bounds)
            wins = inverse_depth > nearest[there]
            wins &= across >= low_x * inverse_depth
            wins &= across <= high_x * inverse_depth
            wins &= down >= low_y * inverse_depth
            wins &= down <= high_y * inverse_depth
            np.copyto(nearest[there], inverse_depth, where=wins)
            np.copyto(texture_x[there], across, where=wins)
            np.copyto(texture_y[there], down, where=wins)
            np.copyto(quad_index[there], np.uint8(index), where=wins)
        with np.errstate(divide="ignore", invalid="ignore"):
            texture_x /= nearest
            texture_y /= nearest
        return Hits(nearest, texture_x, texture_y, quad_index)

    def shade(self, hits: Hits) -> Array:
        """Look the texture up between the two nearest mip levels; black where nothing is."""
        depth_bits = np.log2(np.maximum(hits.inverse_depth, np.float32(1e-6)))
        level = self._diagonal[hits.quad] - np.float32(1.5) * depth_bits
        np.clip(level, 0.0, _LEVELS - 1.001, out=level)
        coarse = level.astype(np.uint8)
        blend = level - coarse
        grey = self._look_up(hits, coarse)
        if blend.any():
            grey += blend * (self._look_up(hits, coarse + np.uint8(1)) - grey)
        grey[hits.inverse_depth <= 0.0] = 0.0
        return grey

    def _look_up(self, hits: Hits, level: Array) -> Array:
        shrink = (np.float32(0.5) ** np.arange(_LEVELS, dtype=np.float32))[level]
        half = np.float32(0.5)
        map_x = hits.texture_x * shrink - half
        map_y = hits.texture_y * shrink + (self._scene.level_rows - half)[level]
        return np.asarray(
            cv2.remap(
                self._scene.atlas, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            ).astype(np.float32)
        )


def _bands(rows: slice) -> list[slice]:
    return [
        slice(top, min(top + _BAND_ROWS, rows.stop))
        for top in range(rows.start, rows.stop, _BAND_ROWS)
    ]


def _clip_near(corners_cam: Array) -> Array:
    """Cut a polygon at the near plane and project it; (N, 2) on the normalised plane."""
    ahead = corners_cam[:, 2] >= _NEAR_M
    kept = []
    for index, corner in enumerate(corners_cam):
        following = (index + 1) % len(corners_cam)
        if ahead[index]:
            kept.append(corner)
        if ahead[index] != ahead[following]:
            other = corners_cam[following]
            ratio = (_NEAR_M - corner[2]) / (other[2] - corner[2])
            kept.append(corner + ratio * (other - corner))
    if not kept:
        return np.zeros((0, 2))
    points = np.array(kept)
    normalized: Array = points[:, :2] / points[:, 2:]
    return normalized
