"""The page of the metric's Space, where one can try it."""

from pathlib import Path

import evaluate

evaluate.utils.launch_gradio_widget(evaluate.load(str(Path(__file__).with_name("p_co.py"))))
