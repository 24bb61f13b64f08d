"""Guidance functions that other nodes put on a MODEL (RescaleCFG, CFGZeroStar, APG …), run on picture and sound apart."""

import logging

import comfy.model_management

CALC, PRE, CFG, POST = (
    "sampler_calc_cond_batch_function",
    "sampler_pre_cfg_function",
    "sampler_cfg_function",
    "sampler_post_cfg_function",
)


def has_functions(model_options: dict) -> bool:
    return any(model_options.get(k) for k in (PRE, CFG, POST))


def name_of(function) -> str:
    """The node that a function comes from, as well as its name tells."""
    return getattr(function, "__qualname__", type(function).__qualname__).split(".<locals>")[0]


def name_unused(model_options: dict, told: set) -> None:
    """Say once that a function that runs the passes itself is left out."""
    function = model_options.get(CALC)
    if function is not None and CALC not in told:
        told.add(CALC)
        logging.warning(
            "NavaGuider: %s takes the place of the passes of a step, which NAVA Guider decides itself: it has no effect here. Take it off the model",
            name_of(function),
        )


def guided_stream(cond, uncond, scale, contrasts, x, sigma, model, model_options, conds):
    """One stream's x0: the text contrast through the model's functions, then the `contrasts`.

    cond, uncond (None when that pass did not run), x: the stream `[B, ...]`; scale: as cfg, 1 is no contrast; contrasts:
    (weight, x0 of the other pass) of the rest; conds: (positive, negative). Raises ValueError naming a function that fails.
    """
    shared = {
        "cond_scale": scale, "timestep": sigma, "sigma": sigma, "input": x, "model": model, "model_options": model_options,
    }  # fmt: skip
    result = cond
    if uncond is not None:
        pair = [cond, uncond]
        for function in model_options.get(PRE, []):
            pair = call(function, {**shared, "conds": list(conds), "conds_out": pair})
        if model_options.get(CFG) is not None:
            given = {
                "cond": x - pair[0], "uncond": x - pair[1], "cond_denoised": pair[0], "uncond_denoised": pair[1],
                "input_cond": conds[0], "input_uncond": conds[1],
            }  # fmt: skip
            result = x - call(model_options[CFG], {**shared, **given})
        else:
            result = pair[1] + (pair[0] - pair[1]) * scale
    for weight, other in contrasts:
        result = result + weight * (cond - other)
    for function in model_options.get(POST, []):
        given = {
            "denoised": result, "cond": conds[0], "uncond": conds[1],
            "cond_denoised": cond, "uncond_denoised": cond * 0 if uncond is None else uncond,
        }  # fmt: skip
        result = call(function, {**shared, **given})
    return result


def call(function, arguments: dict):
    try:
        return function(arguments)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        if comfy.model_management.is_oom(error):
            raise
        raise ValueError(
            f"NavaGuider, model: {name_of(function)} does not work on picture and sound apart ({error}). "
            "Take that node off the model, or sample with a stock guider."
        ) from error
