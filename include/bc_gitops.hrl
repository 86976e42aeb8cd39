%% The public records of bc_gitops. The fields of 0.7 come first, in their order; new fields follow with defaults.
-ifndef(BC_GITOPS_HRL).
-define(BC_GITOPS_HRL, true).

-type isolation_mode() :: embedded | vm.

-record(source_spec, {
    type = hex :: release | git | hex | mesh,
    url :: binary() | undefined,
    sha256 :: binary() | undefined,
    ref :: binary() | undefined,
    mcid :: binary() | undefined
}).

-record(health_spec, {
    type = http :: http | tcp | custom,
    port = 8080 :: pos_integer() | undefined,
    path :: binary() | undefined,
    interval = 30000 :: pos_integer(),   % milliseconds
    timeout = 5000 :: pos_integer(),     % milliseconds
    module :: module() | undefined
}).

-record(icon_spec, {
    type = identicon :: url | base64 | identicon,
    value :: binary() | undefined,
    mime_type :: binary() | undefined
}).

-record(vm_config, {
    memory_limit :: pos_integer() | undefined,   % MB
    scheduler_limit :: pos_integer() | undefined,
    node_prefix :: binary() | undefined,
    extra_args = [] :: [binary()]
}).

-type upgrade_options() :: #{
    strategy := auto | hot | restart,    % how new code takes the place of old code
    force := boolean()                   % a hot upgrade may end processes that still run older code
}.

-record(app_spec, {
    name :: atom(),
    version :: binary(),
    description :: binary() | undefined,
    icon :: #icon_spec{} | undefined,
    source :: #source_spec{} | undefined,
    env = #{} :: #{atom() => term()},
    health :: #health_spec{} | undefined,
    depends_on = [] :: [atom()],
    isolation = embedded :: isolation_mode(),
    vm_config :: #vm_config{} | undefined,
    %% what follows is new in 0.8
    upgrade = #{strategy => auto, force => false} :: upgrade_options()
}).

-record(app_state, {
    name :: atom(),
    version :: binary(),
    description :: binary() | undefined,
    icon :: #icon_spec{} | undefined,
    status = pending :: pending | starting | running | stopped | failed | upgrading,
    path :: file:filename_all() | undefined,
    pid :: pid() | undefined,
    started_at :: calendar:datetime() | undefined,
    health = unknown :: healthy | unhealthy | unknown,
    env = #{} :: #{atom() => term()},
    isolation = embedded :: isolation_mode(),
    node :: node() | undefined,
    os_pid :: pos_integer() | undefined,
    %% what follows is new in 0.8
    details = #{} :: map()               % desired next to running: see bc_gitops:get_app_status/1
}).

-type action() ::
    {deploy, #app_spec{}}
    | {remove, #app_state{}}
    | {upgrade, #app_spec{}, OldVersion :: binary()}
    | {reconfigure, #app_spec{}}.

%% Telemetry events
-define(TELEMETRY_RECONCILE_START, [bc_gitops, reconcile, start]).
-define(TELEMETRY_RECONCILE_STOP, [bc_gitops, reconcile, stop]).
-define(TELEMETRY_RECONCILE_ERROR, [bc_gitops, reconcile, error]).
-define(TELEMETRY_DEPLOY_START, [bc_gitops, deploy, start]).
-define(TELEMETRY_DEPLOY_STOP, [bc_gitops, deploy, stop]).
-define(TELEMETRY_UPGRADE_START, [bc_gitops, upgrade, start]).
-define(TELEMETRY_UPGRADE_STOP, [bc_gitops, upgrade, stop]).
-define(TELEMETRY_REMOVE_START, [bc_gitops, remove, start]).
-define(TELEMETRY_REMOVE_STOP, [bc_gitops, remove, stop]).
-define(TELEMETRY_RECONFIGURE_START, [bc_gitops, reconfigure, start]).
-define(TELEMETRY_RECONFIGURE_STOP, [bc_gitops, reconfigure, stop]).
-define(TELEMETRY_GIT_PULL, [bc_gitops, git, pull]).
-define(TELEMETRY_GIT_CLONE_START, [bc_gitops, git, clone_start]).
-define(TELEMETRY_GIT_CLONE_STOP, [bc_gitops, git, clone_stop]).
-define(TELEMETRY_DEPS_START, [bc_gitops, deps, start]).
-define(TELEMETRY_DEPS_STOP, [bc_gitops, deps, stop]).
-define(TELEMETRY_BUILD_START, [bc_gitops, build, start]).
-define(TELEMETRY_BUILD_STOP, [bc_gitops, build, stop]).
-define(TELEMETRY_BUILD_PROGRESS, [bc_gitops, build, progress]).
-define(TELEMETRY_CODE_LOAD, [bc_gitops, code, load]).
-define(TELEMETRY_CODE_PURGE, [bc_gitops, code, purge]).
-define(TELEMETRY_PARSE_START, [bc_gitops, parse, start]).
-define(TELEMETRY_PARSE_STOP, [bc_gitops, parse, stop]).
-define(TELEMETRY_HEALTH_CHECK, [bc_gitops, health, check]).
-define(TELEMETRY_VM_SPAWN_START, [bc_gitops, vm, spawn_start]).
-define(TELEMETRY_VM_SPAWN_STOP, [bc_gitops, vm, spawn_stop]).
-define(TELEMETRY_VM_STOP_START, [bc_gitops, vm, stop_start]).
-define(TELEMETRY_VM_STOP_STOP, [bc_gitops, vm, stop_stop]).
-define(TELEMETRY_CLUSTER_NODE_UP, [bc_gitops, cluster, node_up]).
-define(TELEMETRY_CLUSTER_NODE_DOWN, [bc_gitops, cluster, node_down]).
-define(TELEMETRY_MESH_FETCH_START, [bc_gitops, mesh, fetch_start]).
-define(TELEMETRY_MESH_FETCH_STOP, [bc_gitops, mesh, fetch_stop]).

-endif.
