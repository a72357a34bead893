"""The page of the metric's Space, where one can try it."""

from functools import partial

import evaluate

module = evaluate.load(__file__.replace("app.py", "coh_con.py"))
module.compute = partial(module.compute, model="cross-encoder/nli-deberta-v3-small")
evaluate.utils.launch_gradio_widget(module)
