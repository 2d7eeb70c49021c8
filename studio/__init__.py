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
    form  naming  trust   a filled form → the command that it says, with every complaint; whose code may run
    machine  child       how full the machine is; a command run for a moment, such as the check before a start
    working              a work before it starts: its command, target, and what stands in its way
    exporting            an export before it starts: its command, target, sizes, and what stands in its way
    schema  components   the declarations as fields: of our scripts, and of Gradio
    pasted               a pasted command, YAML or JSON → values for the form
    models_view          which models a workspace has, and what each is
    jobs_view  news      jobs and runs as the page is told of them; what came since it last asked
    rollouts  evaluations   answers that a run was rewarded for; scores of a reward model; what was measured of a run
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
    beside               what is held beside the model that learns
estimate                 what it will cost: weights that learn, memory, disk, time
loop/                    the loop itself
    settings             recipe → transformers.TrainingArguments
    batch                rows → documents end to end, without padding
    attention            each document sees only itself
    trainer              loss, evaluation, checkpoints
    streaming            batches from a stream, and a checkpoint that knows the place in it
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
    projected            optimizers that project gradients, made to go on from a checkpoint
    step  memory         an optimizer step taken again: in smaller parts when memory runs out, or to look twice
    round                the same for a step over groups of answers
    incidents            what a run did otherwise than asked
    tally  seen          sums and counts that batches tell; rows and tokens learned from, by dataset
    watch                points of the curve, early stop, stop on request
    methods              what is measured of the model in memory, besides the held-out loss
    trackers             may fail; runs may not
    parts  build         what a stage's trainer is built from, and how
rewards/                 where the reward of an answer comes from
    base                 what a source of rewards is given and gives
    choose               what is asked → the one source, and what stands in its way
    model  function  service   a reward model, a Python function, an HTTP service
evaluate/                how good a model is, beside its base
    kept  intervals      a result, its difference from the base, its files; how sure a number is
    opening              which models are measured: the base, checkpoints, the final weights
    likelihood           log-probabilities of what follows a text; a common beginning computed once
    choice_rows  categories   questions with one right letter, from every layout; their subjects
    choice_prompts  choice  choice_work   prompts and letters as ids; the likeliest letter; `studio eval choice`
    harness              `studio eval harness`: benchmarks through lm-eval
    methods  curves      what is measured while a model learns; its numbers step by step
    prompts  answers  answers_work   what is asked; how it is answered, in numbers; `studio eval answers`
    metrics  numerals  segments   BLEU, ROUGE, repetition; the number of an answer; the units of a text
    judge                another model that judges answers
    text_rows  text  text_work   held-out rows; perplexity and bits per character; `studio eval text`
    pair_rows  pairs  pairs_work   rows of two answers; which of them is worth more; `studio eval pairs`
    sums  closing        measures that are sums over rows; the end of an evaluation: kept, exported, told
vocabulary/              of what pieces a model reads and writes text
    extend  growing      `studio tokenizer extend`: a model folder with more tokens; which tokens
    merging  pieces  special   merges continued on texts; pieces of SentencePiece and lists; special tokens
    rows                 embeddings and head with rows for them, written tensor by tensor
    tokenfile  scripts   tokenizer.json as data; which texts belong to a new language
    model_file           the same vocabulary in SentencePiece's file
    train  sentences     a vocabulary from nothing: byte-level BPE, SentencePiece
    new_model  shapes    a model that knows nothing yet; its shapes and how many parameters they have
    inspect  compare     what vocabularies make of texts
    texts  facts         texts of datasets, some held out; a quick look for the page
cleaning/                rows cleaned, before anybody learns from them
    work  crew           `studio data clean`: three passes; the first in several processes
    sources  refusals    what is cleaned and held out; rows that cannot be read
    chunk  rows          some rows through all steps that look at one; the texts of a row
    mend  personal       texts changed: encoding, HTML, invisible characters, spaces; mail, telephone, identity
    repetition  language   texts that repeat themselves; which language a text is in
    units  minhash       texts as words or characters; rows that share most of these get a common key
    buckets  duplicates  store   keys on the disk; rows alike; cleaned rows on their way
    tally                what each step did, with samples
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
    mix  mixing          which source gives the next row; rows of several sources as one epoch has them
    policy  sizes  asked   a file of shares, of bytes; what a recipe asks of several datasets
    mixture  weighing    what a mix means before it is trained on: sizes, shares, epochs over each source
    inspect              a page of a dataset as training sees it
    statistics  histogram   all of it, counted: lengths, what is learned, what is cut, what is refused
    shards  shard_writer  sharding   a folder of shards and its index; written; `studio data shard`
    origin               the recipes of cleaning that files went through
    stream  windows  streamed   rows as training takes them, never all at once; their order; their sources
    beginning            what is known of a stream before it begins: its first rows
    survey  languages    and what its rows are like: languages, roles, duplicates, empty answers, the longest
model/                   weights
    find  hub            name → folder, here or on a hub
    huggingface  modelscope  snapshots  asking   one hub each, its cache, and how long it is waited for
    code                 Python code that a folder brings is refused, or trusted by name
    pickled  conversion  meta   pickled weights → safetensors, once and apart
    load                 folder → weights
    changed  positions   what a run made of its base's config; positions stretched for longer rows
    quantise             a base in 4 or 8 bits
    hardware             what the machine has, and what follows
    worker               a process that works for another, and ends with it
    tokenizer  tokenizer_files   tokenizer.json without transformers
    words  coverage      the same ids word by word, faster; what a tokenizer has no token for
    bits                 how much text a token stands for: bits per character
    templates  messages  baking  sandbox   chat templates (Jinja files in templates/)
    toolcalls            an answer → its text and its tool calls
    token_rows           rows of the embeddings that learn alone, such as those of new tokens
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
    eval_choice  eval_harness   questions with one right letter; benchmarks by their names
    measured             which models an evaluation measures, and where its numbers go
    eval_answers  eval_text  eval_pairs   answers side by side; held-out text; pairs of answers
    tokenizer_extend  tokenizer_train  tokenizer_inspect  tokenizer_new_model   of vocabularies
    text_sample          which texts these read, and where they write
    clean                rows mended, filtered and freed of duplicates
    shard                rows as shards of one size, with an index
    mix                  how much of each source a training sees
command                  recipe ⇄ argument list, file, shell line
rules/                   what must hold between arguments of different groups
    course  methods  optimizers   of any run; of what learns; of optimizers
    sources  streaming   of datasets that are mixed or streamed
recipe                   one complete, checked set of arguments
arguments/               what may be asked, each argument declared once
    base  model  template  method  data  training  preference  rewards  generation  export  chat  serve  preview  web
    upstream             the other fields of transformers.TrainingArguments
    aliases              other names for what the studio has
    refused  reasons     names of the ecosystem that are not taken, and why
    check                raw values → groups, with every complaint
settings_file            YAML and JSON, read as text
remote                   a service that is asked over HTTP, and never trusted
workspace  registry      folders and atomic writing; name → thing
errors                   what can go wrong, as sentences
"""

__version__ = "0.1.0"
