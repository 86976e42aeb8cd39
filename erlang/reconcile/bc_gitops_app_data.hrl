%% What the process of one managed app holds; for the modules `bc_gitops_managed_app' is made of.
-record(data, {
    name :: atom(),
    config :: bc_gitops_config:config(),
    store :: bc_gitops_state:app(),
    app :: #app_state{} | undefined,            % what runs
    monitor :: reference() | undefined,         % of the process that stands for it
    goal :: bc_gitops_goal:goal() | undefined,
    next :: bc_gitops_goal:goal() | undefined,  % waits for the end of a switch
    seq = 0 :: non_neg_integer(),               % the newest goal seen
    landed = 0 :: non_neg_integer(),            % when what runs proved itself, in the order of goals
    worker :: bc_gitops_app_work:worker() | undefined,
    action :: bc_gitops_goal:step() | undefined,
    target :: bc_gitops_state:revision() | undefined,
    prepared :: map() | undefined,
    deps = bc_gitops_app_deps:none() :: bc_gitops_app_deps:deps(),
    attempts = 0 :: non_neg_integer(),
    began :: integer() | undefined,             % of the attempt, native time
    error :: term(),                            % of the last attempt
    class :: bc_gitops_failure:class() | undefined,
    retry_at :: integer() | undefined,          % monotonic ms
    recovering = false :: boolean(),
    recoveries = 0 :: non_neg_integer(),
    turn = none :: none | asked | mine,
    stopping = false :: boolean()
}).
