"""studio: fine-tune language models, from the first look at the data to a model that others can load.

The map, read from top to bottom: it is the way of a run. Imports point downwards only.

__main__                 the verbs of the command line; nothing heavy until a verb needs it
verbs/                   what each verb reads and says
    train  export  chat  api  data  env  doctor
    jobs  job_views  job_words   what runs, waits and ran
    working  tokenizer  eval   long work other than training
    webui  worker        the page in the browser; what takes jobs from the queue
web/                     the page; it starts commands and reads folders
    app  site  listen    everything that the browser asks for, what of, and the server that answers
    guard  visitor  shield   who may ask, as a request says it; what browsers are told about every answer
    login  token  audit  how somebody gets in, and who did what
    head  assets  reference   our script first in the page; scripts and strings; the page about the API
    page  panel          Gradio's part: tabs (one file each in tabs/), and places that scripts fill
    api/  language/      our JSON endpoints, one subject a file; every string by key
    form  naming         a filled form → the command that it says, with every complaint
    machine  child       how full the machine is; a command run for a moment, such as the check before a start
    working              a work before it starts: its command, target, and what stands in its way
    exporting            an export before it starts: its command, target, sizes, and what stands in its way
    schema  components   the declarations as fields: of our scripts, and of Gradio
    pasted               a pasted command, YAML or JSON → values for the form
    models_view          which models a workspace has, and what each is
    jobs_view  news      jobs and runs as the page is told of them; what came since it last asked
    rollouts             answers that a run was rewarded for, a page at a time; scores of a reward model
    serving  proxy       models that are loaded for chat; requests passed on to them
    datasets_view  datasets_rows   the datasets of the registry; their rows as text and tokens
    datasets_add  datasets_count   uploads and new entries; statistics, kept or counted by a job
    preferences          the better one of two answers → a row of a dataset
doctor/                  what this machine has, and whether it works
    facts                versions, hardware, settings
    machine  place  probe  finding   checks: of the machine, of the workspace, by trying
serve/                   using a model
    opening              arguments → an engine that answers
    server  guard        the OpenAI-compatible API, and who may speak to it
    scoring              the same door for a reward model
    prompt               the prompt of a request: rendered, gone on with, shown
    schema  unsupported  refusal   a request as OpenAI's clients write it, and what they are told in place of answers
    completion  reading   answers → bodies and events; text → thinking, words, calls of tools
    terminal  transcript  showing   a conversation in the terminal
    vllm                 another engine behind the same calls
train                    THE page to read first: recipe → rows → model → trainer → checkpoint
assemble                 the model that learns, and the parts of its trainer
stages/                  each way of learning: its arguments, its rows, its trainer
    base  pretrain  sft  rm
    dpo  kto  preferences   learning from preferences, and the rules that both share
    ppo                  learning from the rewards of its own answers
    grpo  rloo  groups   the same from groups of answers, and the rules that both share
    answering            what these three share: prompts as rows, room for answers, what has no use there
preflight/               what must be true before a run starts
    check  plan          rows counted, all checked; the plan that comes of it
    costs  needs  packages   what it costs here; what model, rows and machine must give; what must be installed
estimate                 what it will cost: weights that learn, memory, disk, time
loop/                    the loop itself
    settings             recipe → transformers.TrainingArguments
    batch                rows → documents end to end, without padding
    attention            each document sees only itself
    trainer              loss, evaluation, checkpoints
    causal  head         the trainer of next-token prediction; its loss without all logits at once
    ranked  padding      the trainer of reward models, and their padding token
    testsets  measured   files a reward model is measured on; its scores in numbers
    preference  kto      the trainers of pairs and of judged answers
    pair_losses          losses of pairs, each from its paper
    logprobs             log-probabilities of labels, a piece of the head at a time
    reference  ref_model   the policy as it was, or another one, beside the one that learns
    asked_once           what the reference makes of each row, kept on disk
    ppo  policy_trainer   the loop of answers, rewards and updates; what surrounds it
    policy  critic       who looks at an answer: policy, value head, reference, rewards
    rollout  rollout_vllm   the policy writes answers: by itself, or by vLLM
    fewer                fewer answers at a time when memory runs out
    experience           what one step learns from
    advantage  surrogate   rewards → advantages; the clipped losses
    alarms               what goes wrong in learning from rewards without failing
    online  groups       trl's trainers of groups of answers in the studio's loop; how they are put together
    rollouts             answers that are kept for people to read
    zero                 a DeepSpeed file: what it asks, and what in it cannot be
    deepspeed  divided   weights and optimizer in parts, one for each process
    saving               checkpoints and final weights, written whole
    step  memory         an optimizer step taken again: in smaller parts when memory runs out, or to look twice
    incidents            what a run did otherwise than asked
    tally                sums and counts that batches tell
    watch                points of the curve, early stop, stop on request
    trackers             may fail; runs may not
    parts  build         what a stage's trainer is built from, and how
rewards/                 where the reward of an answer comes from
    base                 what a source of rewards is given and gives
    choose               what is asked → the one source, and what stands in its way
    model  function  service   a reward model, a Python function, an HTTP service
material                 model folder, tokenizer, template, rows
jobs/                    when and where
    folder               the run folder: begin, go on, or refuse
    launch               command → processes
    signals              being asked to stop
    log  progress  plot  what a run says
    told                 what other long commands say of themselves
    job                  what was asked of the machine, where it stands, how it ended
    store  rows  schema  the list of jobs, in one SQLite file
    steps                the steps of an attempt, only forwards
    identity             which process is which, and all that belong to a job
    supervisor           one small process for each job: starts it, watches it, says how it ended
    worker  adopt        the loop over the queue; what became of jobs whose supervisor is gone
    again                what the machine ended starts again by itself, a few times
    slots                who may start beside whom
    hold                 one page and one worker in a workspace
    failure              exit code and log → cause, the line that proves it, what to do
    runs  lineage  look  run folders without the store: how they stand, what hangs together, how far they are
    rebuild              the list of jobs made anew from folders
data/                    rows
    catalog  entry  keys   dataset_info.json → entries
    register  edit       a file without an entry → an entry; the registry as a text that is edited
    files  parts         entry → files, local or from a hub
    reading  source      files → raw rows, all of them or a page
    readers  lines  blocks  arrays  tables  parquet  arrow  syntax   one form of file each
    textfile  compressed  converted  encoding   any text file → UTF-8
    example              the one shape of a row, and the registry of formats
    formats  chats  wild   raw row → Example, one function a format
    conversations  calls  columns  ranked   the parts of a row: turns, tool calls, columns, pairs and labels
    kinds                what the rows of an entry are for, and the stages they fit
    recognise  shapes    rows without an entry → format and columns
    turns                Example → text, and what of it is learned
    render  mask         Example → tokens with a loss mask
    tokenise  rows  hashes   rendered once, kept on disk, mapped into memory
    report               what became of each row
    pack                 rows → sequences without gaps
    inspect              a page of a dataset as training sees it
    statistics  histogram   all of it, counted: lengths, what is learned, what is cut, what is refused
model/                   weights
    find  hub            name → folder, here or on a hub
    huggingface  modelscope  snapshots  asking   one hub each, its cache, and how long it is waited for
    code                 Python code that a folder brings is refused, or trusted by name
    pickled  conversion  meta   pickled weights → safetensors, once and apart
    load                 folder → weights
    changed  positions   what a run made of its base's config; positions stretched for longer rows
    quantise             a base in 4 or 8 bits
    hardware             what the machine has, and what follows
    tokenizer  tokenizer_files   tokenizer.json without transformers
    coverage             what a tokenizer has no token for
    templates  messages  baking  sandbox   chat templates (Jinja files in templates/)
    toolcalls            an answer → its text and its tool calls
    adapt  pissa         which weights learn; an adapter that starts from the base's largest singular values
    checkpoint           complete or absent; verified before it is trusted
    staging              a folder appears under its name when it is whole
    weights  shards      safetensors by header and by slice
    classifier  scorehead  scorer   a reward model: its folder, its head, its scores
    adapter  fit  merge  plan  detour  export  report   adapter + base → model
    outlay               what that will cost in disk, told before it starts
    companions  card  modelfile   what stands beside the weights
    prompting            conversation → ids
    decode  sampling  detokenise   the model's steps for many answers; logits → token; ids → text
    engine  answer       many answers at once, each in pieces as it is written
    generate             a loaded model that answers
    embedded             the small real model that a package carries
works/                   long work other than training: its arguments, and what does it
    base
command                  recipe ⇄ argument list, file, shell line
rules/                   what must hold between arguments of different groups
    course  methods  optimizers   of any run; of what learns and on which base; of optimizers and their schedules
recipe                   one complete, checked set of arguments
arguments/               what may be asked, each argument declared once
    base  model  template  method  data  training  preference  rewards  generation  export  chat  serve  preview  web
    upstream             the other fields of transformers.TrainingArguments
    aliases              other names for what the studio has
    refused  reasons     names of the ecosystem that are not taken, and why
    check                raw values → groups, with every complaint
settings_file            YAML and JSON, read as text
workspace  registry      folders and atomic writing; name → thing
errors                   what can go wrong, as sentences
"""

__version__ = "0.1.0"
