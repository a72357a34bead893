"""One builder per file; shipped as idl_hf.dataset_scripts."""
