# Copyright 2026 The superpoint_ros authors
# SPDX-License-Identifier: Apache-2.0
"""Match two images and estimate the homography between them.

    superpoint match a.jpg b.jpg                      matches, inliers, H_b_a
    superpoint match a.jpg b.jpg --out matches.png    both images, a line per match
    superpoint match a.jpg b.jpg --features rootsift  the same with SIFT, to compare

H_b_a takes pixels of the first image to pixels of the second. Green lines agree with it, red ones
do not. The homography holds for a flat scene or a camera that only turns; elsewhere the matches
count, not the homography.
"""

from __future__ import annotations

import argparse

from superpoint_ros.cli._extractor import (
    add_extractor_arguments,
    describe_extractor,
    make_extractor,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("image_a", metavar="A", help="first image")
    parser.add_argument("image_b", metavar="B", help="second image")
    parser.add_argument("--out", metavar="FILE", default="", help="write a picture of the matches")
    parser.add_argument("--json", metavar="FILE", default="", help="write matches and homography")
    parser.add_argument(
        "--ratio",
        type=float,
        help="largest ratio of best to second-best distance (default: 1, off)",
    )
    parser.add_argument(
        "--min-similarity", type=float, help="smallest cosine of a match (default: -1, off)"
    )
    parser.add_argument(
        "--ransac-px", type=float, help="largest error of an inlier, pixels (default: 3)"
    )
    add_extractor_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Match, estimate, print and write."""
    from superpoint_ros.config import ConfigError, from_mapping
    from superpoint_ros.drawing import draw_matches
    from superpoint_ros.files import write_json
    from superpoint_ros.geometry.homography import HomographyConfig, estimate_homography
    from superpoint_ros.image import read_image, write_image
    from superpoint_ros.matching import MatchConfig, match

    tests = {"max_ratio": args.ratio, "min_similarity": args.min_similarity}
    config = from_mapping(MatchConfig, {k: v for k, v in tests.items() if v is not None})
    robust = HomographyConfig()
    if args.ransac_px is not None:
        robust = HomographyConfig(max_reprojection_px=args.ransac_px)
    image_a, image_b = read_image(args.image_a), read_image(args.image_b)
    extract = make_extractor(args)
    if not extract.descriptor_dim:
        raise ConfigError(f"--features {args.features}: has no descriptors to match")
    a, b = extract.extract_batch([image_a, image_b])
    matches = match(a, b, config)
    pixels_a, pixels_b = a.keypoints[matches[:, 0]], b.keypoints[matches[:, 1]]
    result = estimate_homography(pixels_a, pixels_b, robust)
    inliers = result.inliers if result is not None else None
    # As is customary.
    H_b_a = (result.H_b_a / result.H_b_a[2, 2]).tolist() if result is not None else []
    print(f"keypoints {len(a)} and {len(b)}, matches {len(matches)}")
    if result is None:
        print(f"no homography: fewer than {robust.min_inliers} matches agree on one")
    else:
        print(f"inliers {result.inliers.sum()}, rms {result.rms_px:.2f} px, H_b_a")
        for row in H_b_a:
            print("  " + " ".join(f"{value:14.8g}" for value in row))
    if args.out:
        # Without a homography nothing is known to be right: every line red.
        good = inliers if inliers is not None else matches[:, 0] < 0
        write_image(
            args.out, draw_matches(image_a, image_b, a.keypoints, b.keypoints, matches, good)
        )
        print(f"picture in {args.out}")
    if args.json:
        write_json(
            args.json,
            {
                "images": [args.image_a, args.image_b],
                "keypoints": [len(a), len(b)],
                "matches": len(matches),
                "inliers": int(result.inliers.sum()) if result is not None else 0,
                "H_b_a": H_b_a or None,
                "pixels_a": pixels_a.tolist(),
                "pixels_b": pixels_b.tolist(),
                "is_inlier": inliers.tolist() if inliers is not None else None,
                **describe_extractor(extract),
            },
        )
    return 0
