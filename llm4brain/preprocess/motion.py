"""Rigid head motion of every volume, by Gauss-Newton on the mean's six motion derivatives.

A head that moves by a small translation t and rotation r about c shows at point p what lay at
p - u(p), u(p) = t + r x (p - c). To first order

    I_t(p) = g R(p) - grad R(p) . u(p)

which is linear in (t, r): one least-squares solve for all volumes of a run at once. Volumes that
moved far are resampled at the estimate and solved again. (The same idea as Friston et al. 1995,
Human Brain Mapping 3:165-189.)
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

FAR = 0.2  # voxels; below it the first order is exact enough
INSIDE = 0.5  # of the reference's brightness
ROUNDS = 6


def matrix(parameters: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Rigid motion as an affine: p -> c + rotation (p - c) + translation.

    Args:
        parameters: (6,) translation in mm, rotation vector in radians.
        centre: (3,) mm.

    Returns:
        (4, 4), from where the head's points lie in the reference to where they lie now.
    """
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec(parameters[3:]).as_matrix()
    affine[:3, 3] = centre + parameters[:3] - affine[:3, :3] @ centre
    return affine


def parameters(affine: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The inverse of `matrix`: (4, 4) -> (6,)."""
    shift = affine[:3, 3] - centre + affine[:3, :3] @ centre
    return np.concatenate([shift, Rotation.from_matrix(affine[:3, :3]).as_rotvec()])


def derivatives(
    reference: np.ndarray, affine: np.ndarray, points: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """How the reference changes per mm of translation and radian of rotation, at some voxels.

    Args:
        reference: (x, y, z).
        points: (n, 3) voxel indices.

    Returns:
        (n, 6).
    """
    slope = np.stack(np.gradient(reference), axis=-1)[tuple(points.T)]  # per voxel
    slope = slope @ np.linalg.inv(affine[:3, :3])  # per mm
    arm = points @ affine[:3, :3].T + affine[:3, 3] - centre
    # grad . (r x arm) = r . (arm x grad)
    return -np.concatenate([slope, np.cross(arm, slope)], axis=1)


def estimate(
    volumes: np.ndarray, reference: np.ndarray, affine: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Motion of each volume against a reference on the same grid.

    Args:
        volumes: (x, y, z, time) float32.
        reference: (x, y, z), the run's mean for instance.
        affine: (4, 4) voxel -> mm.
        centre: (3,) mm, about which rotations are told.

    Returns:
        (time, 6): translation in mm along x, y, z, rotation vector in radians; `matrix` of a row
        takes a point of the reference's head to where it lies in that volume.
    """
    size = float(np.linalg.norm(affine[:3, :3], axis=0).mean())
    # Only inside the head: the magnitude of air's noise does not follow the head.
    points = np.argwhere(reference > INSIDE * np.percentile(reference, 98))
    at = tuple(points.T)
    slopes = derivatives(reference, affine, points, centre)
    # Nuisance columns: the volume's own brightness and offset.
    design = np.column_stack([slopes, reference[at], np.ones(len(points))])
    scale = np.linalg.norm(design, axis=0)
    solve = np.linalg.pinv(design / scale)[:6] / scale[:6, None]  # (6, n)

    found = (solve @ (volumes[at] - reference[at][:, None])).T  # (time, 6)
    arms = points @ affine[:3, :3].T + affine[:3, 3] - centre
    reach = float(np.linalg.norm(arms, axis=1).max())
    world = points @ affine[:3, :3].T + affine[:3, 3]
    inverse = np.linalg.inv(affine)
    step = found
    active = np.arange(len(found))
    for _ in range(ROUNDS):
        far = np.abs(step[:, :3]).max(axis=1) + reach * np.linalg.norm(step[:, 3:], axis=1)
        active = active[far > FAR * size]
        if not len(active):
            break
        step = np.empty((len(active), 6))
        for row, volume in enumerate(active):
            now = matrix(found[volume], centre)
            target = (world @ now[:3, :3].T + now[:3, 3]) @ inverse[:3, :3].T + inverse[:3, 3]
            seen = ndimage.map_coordinates(volumes[..., volume], target.T, order=3, mode="mirror")
            step[row] = solve @ (seen - reference[at])
            found[volume] = parameters(now @ matrix(step[row], centre), centre)
    return found


def displacement(motion: np.ndarray, radius: float = 50.0) -> np.ndarray:
    """Framewise displacement of Power et al. 2012, NeuroImage 59:2142-2154.

    Args:
        motion: (time, 6) mm and radians.
        radius: mm, of the sphere on which rotations are measured.

    Returns:
        (time,) mm; the first is NaN, having no volume before it.
    """
    change = np.abs(np.diff(motion, axis=0))
    change[:, 3:] *= radius
    return np.concatenate([[np.nan], change.sum(axis=1)])
