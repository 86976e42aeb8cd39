%%% @doc Goals of the calls by hand: deploy, remove, upgrade. What is wrong with the arguments is said
%%% before anything is done.
-module(bc_gitops_by_hand).

-include("bc_gitops.hrl").

-export([deploy/1, remove/1, upgrade/2, calling_app/0]).
-export([at_version/3]).

%% @doc The goal for `bc_gitops:deploy/1'.
-spec deploy(#app_spec{} | map()) -> {ok, bc_gitops_goal:goal()} | {error, term()}.
deploy(#app_spec{name = Name, version = Version} = Spec) when is_binary(Version) ->
    case is_name(Name) of
        true -> {ok, goal(without_login(Spec), #{})};
        false -> {error, {bad_name, #{name => Name}}}
    end;
deploy(#app_spec{version = Version}) ->
    {error, {invalid_type, version, binary, Version}};
deploy(Map) when is_map(Map) ->
    case bc_gitops_parser:parse_app_config(Map) of
        {ok, Spec} -> deploy(Spec);
        {error, Reason} -> {error, Reason}
    end;
deploy(Other) ->
    {error, {invalid_type, spec, app_spec, Other}}.

without_login(#app_spec{source = #source_spec{} = Source} = Spec) ->
    Spec#app_spec{source = bc_gitops_source:without_login(Source)};
without_login(Spec) ->
    Spec.

%% @doc The goal for `bc_gitops:remove/1'.
-spec remove(atom()) -> {ok, bc_gitops_goal:goal()} | {error, not_found}.
remove(Name) ->
    case bc_gitops_registry:app(Name) of
        {ok, _Row} -> {ok, bc_gitops_goal:remove(Name, #{})};
        {error, not_found} -> {error, not_found}
    end.

%% @doc The goal for `bc_gitops:upgrade/2': what runs, at another version. It holds until the next commit.
-spec upgrade(atom(), binary() | string()) -> {ok, bc_gitops_goal:goal()} | {error, term()}.
upgrade(Name, Version) when is_list(Version) ->
    case unicode:characters_to_binary(Version) of
        Binary when is_binary(Binary) -> upgrade(Name, Binary);
        _ -> {error, {invalid_type, version, binary, Version}}
    end;
upgrade(Name, Version) when is_binary(Version), Version =/= <<>> ->
    case bc_gitops_registry:spec(Name) of
        {ok, #app_spec{version = Old} = Spec} -> upgrade_goal(Spec, Old, Version);
        {error, not_found} -> {error, not_found}
    end;
upgrade(_Name, Version) ->
    {error, {invalid_type, version, binary, Version}}.

upgrade_goal(Spec, Old, Version) ->
    case at_version(Spec, Old, Version) of
        {ok, New} -> {ok, goal(New, #{pin => true})};
        {error, Reason} -> {error, Reason}
    end.

goal(Spec, Common) ->
    {SourceFp, EnvFp} = bc_gitops_native:spec_fingerprint(Spec),
    Meta = #{source_fp => SourceFp, env_fp => EnvFp},
    bc_gitops_goal:apply(Spec, Meta, Common#{origin => manual, by_hand => true}).

%% @doc The spec of another version. A git ref that names the old version names the new one in the same
%% form; any other ref cannot be guessed.
-spec at_version(#app_spec{}, Old :: binary(), New :: binary()) ->
    {ok, #app_spec{}} | {error, {ref_is_no_version | source_is_one_version, map()}}.
at_version(#app_spec{source = #source_spec{type = git, ref = Ref} = Source} = Spec, Old, New) ->
    Prefixed = <<"v", Old/binary>>,
    At = fun(NewRef) -> Spec#app_spec{version = New, source = Source#source_spec{ref = NewRef}} end,
    case Ref of
        Old -> {ok, At(New)};
        Prefixed -> {ok, At(<<"v", New/binary>>)};
        _ -> {error, {ref_is_no_version, #{app => Spec#app_spec.name, ref => Ref, version => Old}}}
    end;
at_version(#app_spec{source = #source_spec{type = hex, ref = Old} = Source} = Spec, Old, New) ->
    {ok, Spec#app_spec{version = New, source = Source#source_spec{ref = New}}};
at_version(#app_spec{name = App, version = Version, source = #source_spec{type = Type}}, _Old, New)
        when Type =/= hex, New =/= Version ->
    Message = io_lib:format("the ~s source of ~s is of one version, ~ts; push a specification with the url or id of "
                            "~ts", [Type, App, Version, New]),
    {error, {source_is_one_version, #{app => App, message => unicode:characters_to_binary(Message)}}};
at_version(Spec, _Old, New) ->
    {ok, Spec#app_spec{version = New}}.

%% The grammar of application names in specs.
is_name(Name) when is_atom(Name), Name =/= undefined ->
    re:run(atom_to_binary(Name), "^[a-z][a-zA-Z0-9_@]{0,127}$", [dollar_endonly]) =/= nomatch;
is_name(_Name) ->
    false.

%% @doc The managed app in which the caller runs: such a caller would wait for itself. Application
%% masters are looked up in a table; nobody is asked.
-spec calling_app() -> {ok, atom()} | none.
calling_app() ->
    Ancestors = [Pid || Pid <- ancestors(get('$ancestors')), is_pid(Pid), node(Pid) =:= node()],
    Names = [Name || Pid <- [self() | Ancestors], {ok, Name} <- [application:get_application(Pid)]],
    case [Name || Name <- Names, {ok, _} <- [bc_gitops_registry:app(Name)]] of
        [Name | _] -> {ok, Name};
        [] -> none
    end.

ancestors(undefined) -> [];
ancestors(Ancestors) -> [to_pid(Ancestor) || Ancestor <- Ancestors].

to_pid(Name) when is_atom(Name) -> whereis(Name);
to_pid(Pid) -> Pid.
