%%% @doc Applications that specs depend on and that the repository does not have: OTP's and the host's.
%%%
%%% Only tables and the code path are asked, never the application controller. What the specs of a commit
%%% need, and what of it was found on the code path, is remembered until the commit changes.
-module(bc_gitops_outside).

-include("bc_gitops.hrl").

-export([needed/3, names/1, available/2]).

-export_type([needs/0]).

-type needs() :: #{commit := binary(), names := [atom()], found := [atom()]}.

%% @doc What the specs of Snapshot need beyond one another. Before is what was remembered.
-spec needed(bc_gitops_native:snapshot(), Commit :: binary(), Before :: needs() | undefined) -> needs().
needed(_Snapshot, Commit, #{commit := Commit} = Before) ->
    Before;
needed(Snapshot, Commit, _Before) ->
    #{commit => Commit, names => names(bc_gitops_native:snapshot_specs(Snapshot)), found => []}.

%% @doc The names that specs depend on and that are not among them.
-spec names(#{atom() => #app_spec{}}) -> [atom()].
names(Specs) ->
    lists:usort([
        Name
     || #app_spec{depends_on = DependsOn} <- maps:values(Specs), Name <- DependsOn,
        not is_map_key(Name, Specs)
    ]).

%% @doc Which of them run, are loaded or could be. A managed app is not one of them.
-spec available(needs(), Managed :: [atom()]) -> {[atom()], needs()}.
available(#{names := []} = Needs, _Managed) ->
    {[], Needs};
available(#{names := Names, found := Found} = Needs, Managed) ->
    Looked = [Name || Name <- (Names -- Managed) -- Found, is_available(Name)],
    {(Found -- Managed) ++ Looked, Needs#{found := Found ++ [Name || Name <- Looked, not is_loaded(Name)]}}.

is_available(Name) ->
    is_loaded(Name) orelse bc_gitops_host:application(Name) =/= not_found.

%% A library that came with a managed app goes with it.
is_loaded(Name) ->
    application:get_key(Name, vsn) =/= undefined andalso not bc_gitops_runtime_table:is_ours(Name).
