"""studio: fine-tune language models, from the first look at the data to a model that others can load.

The map, read from top to bottom: it is the way of a run. Imports point downwards only.

__main__                 the verbs of the command line; nothing heavy until a verb needs it
verbs/                   what each verb reads and says
    train  export  chat  data
train                    THE page to read first: recipe → rows → model → trainer → checkpoint
assemble                 the model that learns, and the parts of its trainer
stages/                  each way of learning: its arguments, its rows, its trainer
    base  pretrain  sft
preflight                what must be true before a run starts
estimate                 what it will cost: weights that learn, memory, disk, time
loop/                    the loop itself
    settings             recipe → transformers.TrainingArguments
    batch                rows → documents end to end, without padding
    attention            each document sees only itself
    trainer              loss, evaluation, checkpoints
    causal               the trainer of next-token prediction
    saving               checkpoints and final weights, written whole
    watch                points of the curve, early stop, stop on request
    trackers             may fail; runs may not
    parts                what a stage's trainer is built from
material                 model folder, tokenizer, template, rows
jobs/                    when and where
    folder               the run folder: begin, go on, or refuse
    launch               command → processes
    signals              being asked to stop
    log  progress  plot  what a run says
data/                    rows
    catalog  entry       dataset_info.json → entries
    source               entry → raw rows
    readers  lines  blocks  arrays  tables  parquet  syntax  encoding   one form of file each
    example  formats     raw row → Example
    turns                Example → text, and what of it is learned
    render  mask         Example → tokens with a loss mask
    tokenise  rows  hashes   rendered once, kept on disk, mapped into memory
    report               what became of each row
    pack                 rows → sequences without gaps
    inspect              a page of a dataset as training sees it
model/                   weights
    find  hub            name → folder, here or on a hub
    load                 folder → weights
    hardware             what the machine has, and what follows
    tokenizer  tokenizer_files   tokenizer.json without transformers
    templates  sandbox   chat templates (Jinja files in templates/)
    adapt                which weights learn
    checkpoint           complete or absent; verified before it is trusted
    staging              a folder appears under its name when it is whole
    weights  shards      safetensors by header and by slice
    adapter  fit  merge  plan  detour  export  report   adapter + base → model
    companions  card  modelfile   what stands beside the weights
    generate             questions → answers
    embedded             the small real model that a package carries
command                  recipe ⇄ argument list, file, shell line
rules                    what must hold between arguments of different groups
recipe                   one complete, checked set of arguments
arguments/               what may be asked, each argument declared once
    base  model  template  method  data  training  generation  export  chat  preview
    upstream             the other fields of transformers.TrainingArguments
    refused              names of the ecosystem that are not taken, and why
    check                raw values → groups, with every complaint
settings_file            YAML and JSON, read as text
workspace  registry      folders and atomic writing; name → thing
errors                   what can go wrong, as sentences
"""

__version__ = "0.1.0"
