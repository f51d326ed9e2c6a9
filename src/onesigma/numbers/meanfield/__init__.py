"""Mean field theory of wide random networks: how variance, correlation and gradients travel through depth.

A layer is x ↦ W·f(x) + b with W ~ N(0, weight_std²/fan_in) and b ~ N(0, bias_std²). As the width grows its
pre-activations become normal, and one layer is one step of a map of their variance q, and of the correlation c of
two inputs:

    Q(q) = weight_std²·E[f(u)²] + bias_std²,   C(c) = (weight_std²·E[f(u)·f(v)] + bias_std²) / Q(q),

u, v ~ N(0, q) of correlation c. Its slope at c = 1 is chi = weight_std²·E[f′(u)²], the growth of squared gradients.

References: Poole et al. 2016, https://arxiv.org/abs/1606.05340; Schoenholz et al. 2017,
https://arxiv.org/abs/1611.01232; Hayou et al. 2019, https://arxiv.org/abs/1902.06853.
"""

from onesigma.numbers.meanfield.critical import CriticalPoint, critical_point
from onesigma.numbers.meanfield.curves import Curve, Curves, curves
from onesigma.numbers.meanfield.depth import DepthScales, depth_scales, variance_for_depth
from onesigma.numbers.meanfield.fixed import FixedPoint, fixed_points
from onesigma.numbers.meanfield.maps import correlation_map, variance_map

__all__ = [
    "CriticalPoint",
    "Curve",
    "Curves",
    "DepthScales",
    "FixedPoint",
    "correlation_map",
    "critical_point",
    "curves",
    "depth_scales",
    "fixed_points",
    "variance_for_depth",
    "variance_map",
]
