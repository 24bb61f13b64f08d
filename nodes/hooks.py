"""Guidance functions that other nodes put on a MODEL (RescaleCFG, CFGZeroStar, APG …), run on picture and sound apart."""

import copy
import logging
import types
import weakref

import comfy.model_management
import torch

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
    functions = model_options.get(POST, [])
    return through_post(functions, result, (cond, uncond), x, sigma, model, model_options, conds, scale)


def through_post(functions, result, passes, x, sigma, model, model_options, conds, scale):
    """x0 after these post-cfg functions. passes: x0 of (cond, uncond or None), in the form of `result` and `x`."""
    cond, uncond = passes
    for function in functions:
        given = {
            "denoised": result, "cond": conds[0], "uncond": conds[1], "cond_denoised": cond,
            "uncond_denoised": cond * 0 if uncond is None else uncond, "cond_scale": scale, "timestep": sigma,
            "sigma": sigma, "input": x, "model": model, "model_options": model_options,
        }  # fmt: skip
        result = call(function, given)
    return result


def split_functions(model_options: dict, of_nodes: dict) -> tuple[dict, list]:
    """(options with the functions that nodes put on the model, post-cfg functions that the sampler has added for itself).

    A sampler's function (cfg++ takes the unconditional pass from it) expects the latent as the sampler has it.
    """
    known = {id(f) for f in of_nodes.get(POST, [])}
    own = [f for f in model_options.get(POST, []) if id(f) not in known]
    if not own:
        return model_options, []
    return {**model_options, POST: [f for f in model_options[POST] if id(f) in known]}, own


# function -> its twin, for as long as the function lives: its memory goes on from run to run as that of the function does
TWINS = weakref.WeakKeyDictionary()


def of_stream(stream: int, model_options: dict) -> dict:
    """The options with functions of this stream's own: what a function remembers from step to step (APG's momentum) is of one stream.

    The picture (0) has the originals, the sound their twins, which are made before either is called.
    """
    own = {key: [second(f) for f in model_options[key]] for key in (PRE, POST) if model_options.get(key)}
    if model_options.get(CFG) is not None:
        own[CFG] = second(model_options[CFG])
    return model_options if stream == 0 else {**model_options, **own}


def second(function):
    """The twin of a function, the same one each time."""
    if function not in TWINS:
        TWINS[function] = twin(function)
    return TWINS[function]


def twin(thing):
    """A copy of a function or callable with variables of its own, and dicts and objects in them. Lists stay shared: in those things are
    collected for somebody outside.
    """
    if isinstance(thing, types.FunctionType) and thing.__closure__:
        cells = [types.CellType(twin(c.cell_contents)) if filled(c) else types.CellType() for c in thing.__closure__]
        copied = types.FunctionType(thing.__code__, thing.__globals__, thing.__name__, thing.__defaults__, tuple(cells))
        copied.__kwdefaults__, copied.__qualname__ = thing.__kwdefaults__, thing.__qualname__
        return copied
    if isinstance(thing, types.MethodType):
        return types.MethodType(thing.__func__, copy.copy(thing.__self__))
    if isinstance(thing, dict) or (
        callable(thing)
        and not isinstance(thing, type | types.FunctionType | types.BuiltinFunctionType | torch.nn.Module)
    ):
        return copy.copy(thing)
    return thing


def filled(cell) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # a variable that is set later
        return False
    return True


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
