%%% @doc Applications from their sources, ready to run: fetched, built, verified and kept in a
%%% store.
%%%
%%% A build is known by its source's commit and the toolchain: what was built once is only looked up
%%% afterwards, without network. Files of a build never change. Building happens in the calling
%%% process: when it dies, what it started ends. No reconciler is needed.
-module(bc_gitops_workspace).

-include("bc_gitops.hrl").

-export([prepare/3, prepared/2, lookup/1, check/1, build_log/1, progress/1]).
-export([keep/2, keep_only/1, forget/1, in_use/2, released/2, create/0, child_specs/0]).
%% What callers of 0.7 know
-export([init/0, init/1, fetch_package/2, remove_package/1, delete_package/1, cleanup/0]).
-export([get_package_path/1, get_ebin_paths/1, add_code_path/1, purge_package_modules/1]).
-export([detect_project_type/1]).

-export_type([build/0, options/0]).

-type build() :: bc_gitops_store:build().
-type options() :: #{
    version => binary(),        % what the `.app' file must say
    timeout => pos_integer(),   % milliseconds for fetching and building, not for waiting in line
    commit => binary(),         % what the source's ref means, as somebody found out already
    allow_local => boolean(),   % sources on the local disk, instead of what is configured
    lock => bc_gitops_source:lock()    % the packages that were chosen for the same source before
}.

%% Removing what a killed build left takes as long as its runner may take.
-define(SHUTDOWN, 30000).

%% @doc Fetches, builds, verifies and stores an application, or finds that this was done before.
-spec prepare(atom(), #source_spec{}, options()) ->
    {ok, build()} | {error, {Kind :: atom(), Details :: map()}}.
prepare(Name, #source_spec{} = Source, Options) ->
    Timeout = maps:get(timeout, Options, bc_gitops_build_config:build_timeout()),
    case check_name(Name) of
        ok ->
            Root = bc_gitops_workspace_server:root(),
            Cache = filename:join(Root, <<"packages">>),
            All = Options#{timeout => Timeout, app => Name, cache => Cache},
            bc_gitops_build_error:explained(
                bc_gitops_disk:explained(bc_gitops_preparation:run(Name, Source, All), Root));
        {error, _} = Error -> Error
    end.

%% @doc The last successful `prepare/3' of exactly this name and source.
-spec prepared(atom(), #source_spec{}) -> {ok, build()} | {error, not_found}.
prepared(Name, #source_spec{} = Source) ->
    find({prepared, Name, Source}).

%% @doc A build by its key.
-spec lookup(Key :: binary()) -> {ok, build()} | {error, not_found}.
lookup(Key) ->
    ok = bc_gitops_workspace_server:ensure(),
    bc_gitops_store:lookup(bc_gitops_workspace_server:root(), Key).

%% @doc Whether the files of a build, and of what it needs, are those that were stored. To be asked
%% before anything of it is loaded, and before anything is stopped for it. What is damaged is
%% prepared anew by the next `prepare/3'.
-spec check(build()) -> ok | {error, {build_damaged, map()}}.
check(#{key := Key} = Build) ->
    ok = bc_gitops_workspace_server:ensure(),
    case bc_gitops_store_check:check(bc_gitops_workspace_server:root(), Build) of
        ok -> ok;
        {error, _} = Error ->
            ok = bc_gitops_workspace_cleaner:forget_build(Key),
            Error
    end.

%% @doc These builds stay in the store, also when this node is down, until Owner says otherwise; no
%% others do by Owner's word.
-spec keep(Owner :: atom(), Keys :: [binary()]) -> ok.
keep(Owner, Keys) ->
    ok = bc_gitops_workspace_server:ensure(),
    {Table, Root} = {bc_gitops_workspace_server:table(), bc_gitops_workspace_server:root()},
    case ets:lookup(Table, {kept, Owner}) of
        [{_, Keys, {Root, ok}}] ->
            ok;
        _ ->
            true = ets:insert(Table, {{kept, Owner}, Keys, unsaid}),
            %% A disk that cannot be written holds them in this VM, and is asked again the next time.
            Said = bc_gitops_store_pins:keep(Root, Owner, Keys),
            true = ets:insert(Table, {{kept, Owner}, Keys, {Root, Said}}),
            ok
    end.

kept_by(Owner) ->
    case ets:lookup(bc_gitops_workspace_server:table(), {kept, Owner}) of
        [{_, Keys, _}] -> Keys;
        [] -> []
    end.

%% @doc The application is gone: nothing is kept for it, or known by its name.
-spec forget(atom()) -> ok.
forget(Name) ->
    ok = keep(Name, []),
    true = ets:delete(bc_gitops_workspace_server:table(), {kept, Name}),
    bc_gitops_workspace_cleaner:forget(Name).

%% @doc Of this node no other owners keep builds.
-spec keep_only(Owners :: [atom()]) -> ok.
keep_only(Owners) ->
    ok = bc_gitops_workspace_server:ensure(),
    bc_gitops_store_pins:keep_only(bc_gitops_workspace_server:root(), Owners).

%% @doc Keeps one more build until Owner says `released/2'.
-spec in_use(Key :: binary(), Owner :: atom()) -> ok.
in_use(Key, Owner) ->
    ok = bc_gitops_workspace_server:ensure(),
    keep(Owner, lists:usort([Key | kept_by(Owner)])).

%% @doc Ends what `in_use/2' began.
-spec released(Key :: binary(), Owner :: atom()) -> ok.
released(Key, Owner) ->
    ok = bc_gitops_workspace_server:ensure(),
    keep(Owner, kept_by(Owner) -- [Key]).

%% @doc What the last builds of an application printed, the newest last.
-spec build_log(atom()) -> {ok, binary()} | {error, not_found}.
build_log(Name) ->
    bc_gitops_build_log:read(Name).

%% @doc How far the preparation of an application is, when one is under way. Never waits.
-spec progress(atom()) -> {ok, bc_gitops_build_progress:progress()} | none.
progress(Name) ->
    bc_gitops_build_progress:read(Name).

%% @doc Makes the tables of what is prepared, kept and built; the caller owns them, so that they
%% outlive the process that serves them.
-spec create() -> ok.
create() ->
    bc_gitops_workspace_server:create().

%% @doc For the supervisor of the application.
-spec child_specs() -> [supervisor:child_spec()].
child_specs() ->
    Start = {bc_gitops_workspace_server, start_link, []},
    [#{id => ?MODULE, start => Start, shutdown => ?SHUTDOWN}].

%% @doc Prepares the configured workspace.
-spec init() -> ok | {error, term()}.
init() ->
    case bc_gitops_workspace_server:ensure() of
        ok -> bc_gitops_workspace_server:set_root(bc_gitops_build_config:workspace_path());
        {error, _} = Error -> Error
    end.

%% @doc Prepares and uses the workspace at Path.
-spec init(file:filename_all()) -> ok | {error, term()}.
init(Path) ->
    case bc_gitops_workspace_server:ensure() of
        ok ->
            Absolute = filename:absname(Path),
            bc_gitops_workspace_server:set_root(unicode:characters_to_binary(Absolute));
        {error, _} = Error -> Error
    end.

%% @doc Fetches and builds; answers the directory of the application.
-spec fetch_package(atom(), #source_spec{}) -> {ok, file:filename()} | {error, term()}.
fetch_package(Name, Source) ->
    case prepare(Name, bc_gitops_source:without_login(Source), #{}) of
        {ok, #{path := Path}} -> {ok, unicode:characters_to_list(Path)};
        {error, _} = Error -> Error
    end.

%% @doc The directory of an application that was fetched.
-spec get_package_path(atom()) -> {ok, file:filename()} | {error, not_found}.
get_package_path(Name) ->
    case find({latest, Name}) of
        {ok, #{path := Path}} -> {ok, unicode:characters_to_list(Path)};
        {error, _} = Error -> Error
    end.

%% @doc The `ebin' directories of an application that was fetched and of its dependencies.
-spec get_ebin_paths(atom()) -> [file:filename()].
get_ebin_paths(Name) ->
    case find({latest, Name}) of
        {ok, #{libs := Libs}} ->
            Ebins = [filename:join(Path, <<"ebin">>) || #{path := Path} <- Libs],
            [unicode:characters_to_list(Ebin) || Ebin <- Ebins];
        {error, not_found} ->
            []
    end.

%% @doc Adds a directory of beams, or the `ebin' of an application's directory, at the end of the
%% code path: the host's own code wins.
-spec add_code_path(file:filename_all()) -> ok | {error, bad_directory}.
add_code_path(Path) ->
    Dir = unicode:characters_to_list(Path),
    Ebin = filename:join(Dir, "ebin"),
    case code:add_pathz(case filelib:is_dir(Ebin) of true -> Ebin; false -> Dir end) of
        true -> ok;
        {error, bad_directory} = Error -> Error
    end.

%% @doc Takes the modules that were loaded from an application's build out of the VM. Processes that
%% run old code of them are ended.
-spec purge_package_modules(atom()) -> ok.
purge_package_modules(Name) ->
    Ebins = get_ebin_paths(Name),
    Loaded = [Module || {Module, File} <- code:all_loaded(), is_list(File),
                        lists:member(filename:dirname(File), Ebins)],
    lists:foreach(fun(Module) ->
        _ = code:purge(Module),
        true = code:delete(Module),
        _ = code:purge(Module)
    end, Loaded).

%% @doc Takes an application's modules and code paths out of the VM and drops its builds.
-spec remove_package(atom()) -> ok | {error, term()}.
remove_package(Name) ->
    ok = purge_package_modules(Name),
    lists:foreach(fun(Ebin) -> _ = code:del_path(Ebin) end, get_ebin_paths(Name)),
    delete_package(Name).

%% @doc Drops the name and those of its builds that are not in use.
-spec delete_package(atom()) -> ok | {error, term()}.
delete_package(Name) ->
    case check_name(Name) of
        ok ->
            bc_gitops_workspace_cleaner:forget(Name),
            bc_gitops_workspace_cleaner:delete_unused(Name);
        {error, _} = Error ->
            Error
    end.

%% @doc Drops all names, every build that is not in use, and what was fetched and kept: content,
%% packages, the beginnings of downloads and mirrors.
-spec cleanup() -> ok | {error, term()}.
cleanup() ->
    bc_gitops_workspace_cleaner:forget('_'),
    Root = bc_gitops_workspace_server:root(),
    [ok = bc_gitops_content_cache:trim(filename:join(Root, Kept), 0)
     || Kept <- [<<"content">>, <<"packages/tarballs">>, <<"unfinished">>]],
    ok = bc_gitops_git_mirror:clear(Root),
    bc_gitops_workspace_cleaner:delete_unused(all).

%% @doc Which build tool a directory is for.
-spec detect_project_type(file:filename_all()) -> bc_gitops_build_tool:tool() | unknown.
detect_project_type(Dir) ->
    case bc_gitops_build_tool:detect(unicode:characters_to_list(Dir)) of
        {ok, Tool} -> Tool:name();
        {error, unknown} -> unknown
    end.

check_name(Name) when is_atom(Name) ->
    case bc_gitops_build_app:is_name(atom_to_list(Name)) of
        true -> bc_gitops_workspace_server:ensure();
        false -> {error, {bad_name, #{name => Name, message =>
            <<"an application's name is a lower case letter and letters, digits, _ and @">>}}}
    end;
check_name(Name) ->
    {error, {bad_name, #{name => Name, message => <<"an application's name is an atom">>}}}.

find(Key) ->
    ok = bc_gitops_workspace_server:ensure(),
    case ets:lookup(bc_gitops_workspace_server:table(), Key) of
        [{_, Build}] -> {ok, Build};
        [] -> {error, not_found}
    end.
